import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch.distributions import Normal, kl_divergence

from edit_grpo_ref.flow import column, derived, divergence, draw, localise, log_prob, noise, transition, window

STOCHASTIC = [("flow_sde", 0.7), ("flow_sde", 0.9), ("dance_sde", 0.3), ("cps", 0.8)]


def schedule(steps, shift=1.0):
    levels = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    return shift * levels / (1 + (shift - 1) * levels)


def kontext_schedule(steps, tokens=1024):
    """FLUX's dynamic shift at 512 pixels."""
    mu = 0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256)
    levels = torch.linspace(1, 1 / steps, steps, dtype=torch.float64)
    return torch.cat([math.exp(mu) / (math.exp(mu) + 1 / levels - 1), torch.zeros(1, dtype=torch.float64)])


def pair(kind, step=4, steps=10):
    """Return two policies' predictions at one latent of a rollout, and the levels of the step."""
    torch.manual_seed(3)
    x, prediction = torch.randn(2, 3, 4, 8, 8, dtype=torch.float64)[0:2, :2]
    other = prediction + 0.1 * torch.randn_like(prediction)
    levels = torch.linspace(0.01, 0.99, steps + 1).double() if kind == "ddim" else schedule(steps, 3.0)
    return x, prediction, other, (levels[step], levels[step + 1], levels[1])


# ------------------------------------------------------------------------------- 1: formulas of one step


@pytest.mark.parametrize(("kind", "scale"), [*STOCHASTIC, ("cps", 1.0), ("ddim", 1.0), ("ddim", 0.4)])
def test_log_probability_is_that_of_a_normal_distribution(kind, scale):
    x, prediction, _, levels = pair(kind)
    mean, std = transition(kind, x, prediction, *levels, scale)
    sample = draw(mean, std, torch.randn_like(mean), store=torch.float64)
    found = log_prob(sample, mean, std)
    assert found.shape == x.shape
    assert (found - Normal(mean, column(std, mean)).log_prob(sample)).abs().max() < 1e-12


@pytest.mark.parametrize(("kind", "scale"), [*STOCHASTIC, ("ddim", 0.6)])
def test_the_mean_is_what_the_papers_derive_it_from(kind, scale):
    x, prediction, _, (now, after, _) = pair(kind)
    mean, std = transition(kind, x, prediction, now, after, 0.9, scale)
    if kind in ("flow_sde", "dance_sde"):  # dx = (v − g² score / 2) dt + g dw
        g = scale * torch.sqrt(now / (1 - now)) if kind == "flow_sde" else scale
        clean = x - now * prediction
        score = -(x - (1 - now) * clean) / now**2
        expected = x + (prediction - g**2 / 2 * score) * (after - now)
        spread = g * torch.sqrt(now - after)
    elif kind == "cps":  # clean image and noise, put together anew with the level's coefficients
        clean, direction = x - now * prediction, x + (1 - now) * prediction
        spread = after * math.sin(scale * math.pi / 2)
        expected = (1 - after) * clean + torch.sqrt(after**2 - spread**2) * direction
    else:
        clean = (x - torch.sqrt(1 - now) * prediction) / torch.sqrt(now)
        spread = scale * torch.sqrt((1 - after) / (1 - now)) * torch.sqrt(1 - now / after)
        expected = torch.sqrt(after) * clean + torch.sqrt(1 - after - spread**2) * prediction
    assert (mean - expected).abs().max() < 1e-12
    assert (std - spread).abs().max() < 1e-12


def test_flow_grpos_form_of_the_cps_log_probability_has_no_scale():
    x, prediction, _, levels = pair("cps")
    mean, std = transition("cps", x, prediction, *levels, 0.8)
    sample = mean + 0.3
    assert torch.allclose(log_prob(sample, mean, std, unscaled=True), torch.full_like(mean, -0.09))


def test_a_deterministic_step_has_no_log_probability_and_no_gradient():
    mean = torch.ones(2, 3, requires_grad=True)
    std = torch.tensor([0.0, 0.5])
    found = log_prob(torch.full((2, 3), 1.5), mean, std)
    found.sum().backward()
    assert found[0].tolist() == [0, 0, 0]
    assert mean.grad[0].tolist() == [0, 0, 0]
    assert mean.grad[1].tolist() == [2, 2, 2]  # (x′ − mean) / std²


def test_no_gradient_reaches_the_sample():
    sample = torch.ones(2, 3, requires_grad=True)
    mean = torch.zeros(2, 3, requires_grad=True)
    log_prob(sample, mean, torch.ones(2)).sum().backward()
    assert sample.grad is None
    assert mean.grad.abs().sum() > 0


def test_each_of_a_batch_may_be_at_a_level_of_its_own():
    levels = schedule(8, 3.0).float()
    torch.manual_seed(0)
    x, prediction = torch.randn(2, 5, 3, 4, 4)
    together = transition("flow_sde", x, prediction, levels[:5], levels[1:6], levels[1], 0.7)
    for step in range(5):
        rows = slice(step, step + 1)
        alone = transition("flow_sde", x[rows], prediction[rows], levels[step], levels[step + 1], levels[1], 0.7)
        assert torch.equal(alone[0], together[0][rows])
        assert torch.equal(alone[1], together[1][rows])


def test_an_unknown_sampler_is_refused():
    with pytest.raises(ValueError, match="sampler 'sde', expected ode, flow_sde"):
        transition("sde", torch.ones(1, 2), torch.ones(1, 2), 1.0, 0.5, 0.5, 0.1)


# -------------------------------------------------------- 2: marginals, for Gaussian data and an exact velocity


def terminal(kind, scale, levels, data_std, stochastic=lambda step, steps: True, data_mean=1.0):
    """Return mean and std of what a sampler ends with, in closed form: all steps are affine and Gaussian."""
    steps, mean, variance = len(levels) - 1, torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    for step in range(steps):
        level = levels[step]
        gain = (level - (1 - level) * data_std**2) / ((1 - level) ** 2 * data_std**2 + level**2)
        probe = torch.tensor([0.0, 1.0], dtype=torch.float64)[:, None]  # an affine map is known by two of its values
        velocity = gain * (probe - (1 - level) * data_mean) - data_mean
        amount = scale if stochastic(step, steps) else 0.0
        (offset, end), std = transition(kind, probe, velocity, level, levels[step + 1], levels[1], amount)
        slope = end - offset
        mean, variance = slope * mean + offset, slope**2 * variance + std[0] ** 2
    return mean.item(), variance.sqrt().item()


TERMINAL_STD = {
    ("ode", 0.0): (0.389, 0.431, 0.474, 0.493, 0.4993),
    ("flow_sde", 0.7): (0.466, 0.480, 0.495, 0.500, 0.5009),
    ("flow_sde", 0.9): (0.485, 0.490, 0.497, 0.500, 0.5002),
    ("dance_sde", 0.3): (0.407, 0.442, 0.478, 0.494, 0.4994),
    ("cps", 0.8): (0.326, 0.352, 0.381, 0.395, 0.4027),
    ("cps", 1.0): (0.289, 0.309, 0.332, 0.345, 0.3518),
}


@pytest.mark.parametrize(("sampler", "expected"), TERMINAL_STD.items(), ids=str)
def test_the_spread_of_what_a_sampler_ends_with(sampler, expected):
    for steps, value in zip((6, 10, 28, 100, 1000), expected, strict=True):
        mean, std = terminal(*sampler, schedule(steps), 0.5)
        assert mean == pytest.approx(1, abs=1e-9)
        assert std == pytest.approx(value, abs=6e-4 if value < 0.47 or steps < 1000 else 6e-5)


def test_in_many_steps_the_sdes_have_the_marginals_of_the_ode_and_cps_has_not():
    for sampler in TERMINAL_STD:
        std = terminal(*sampler, schedule(1000), 0.5)[1]
        assert (abs(std - 0.5) < 2e-3) == (sampler[0] != "cps")


# ------------------------------------------------------- 3: noise that is left where the answer is determined

RESIDUAL = {6: (0.372, 0.164), 10: (0.212, 0.134), 28: (0.073, 0.098)}


@pytest.mark.parametrize(("steps", "expected"), RESIDUAL.items())
def test_noise_of_the_last_step_stays_in_the_image(steps, expected):
    levels = kontext_schedule(steps)
    assert terminal("flow_sde", 0.9, levels, 1e-9)[1] == pytest.approx(expected[0], abs=6e-4)
    assert terminal("dance_sde", 0.3, levels, 1e-9)[1] == pytest.approx(expected[1], abs=6e-4)


@pytest.mark.parametrize("steps", [2, 6, 10])
@pytest.mark.parametrize("kind", ["half", "all", "random", "moving", "dance"])
def test_no_window_leaves_noise_behind(kind, steps):
    levels = kontext_schedule(steps)
    for stochastic in {window(kind, steps, update, interval=2)[0] for update in range(40)}:
        for sampler, scale in STOCHASTIC:
            assert terminal(sampler, scale, levels, 1e-9, lambda step, _, chosen=stochastic: step in chosen)[1] < 1e-6


def test_cps_leaves_none_even_if_all_steps_are_noisy():
    assert terminal("cps", 0.8, kontext_schedule(6), 1e-9)[1] < 1e-6


@pytest.mark.parametrize(
    ("kind", "scale", "stochastic", "expected"),
    [
        ("ode", 0.0, lambda step, steps: False, 0.025),
        ("flow_sde", 0.9, lambda step, steps: True, 0.341),
        ("flow_sde", 0.9, lambda step, steps: step < steps - 1, 0.039),
        ("flow_sde", 0.9, lambda step, steps: step < steps // 2, 0.032),
        ("cps", 0.8, lambda step, steps: True, 0.025),
    ],
)
def test_spread_for_data_of_std_a_tenth(kind, scale, stochastic, expected):
    assert terminal(kind, scale, kontext_schedule(6), 0.1, stochastic)[1] == pytest.approx(expected, abs=6e-4)


# ------------------------------------------------------------------------------------- 4: parity with diffusers


def test_without_noise_every_sampler_is_the_ode():
    for step in range(10):
        x, prediction, _, levels = pair("flow_sde", step)
        euler, none = transition("ode", x, prediction, *levels, 0.0)
        assert torch.equal(none, torch.zeros(2, dtype=torch.float64))
        for kind in ("flow_sde", "dance_sde", "cps"):
            mean, std = transition(kind, x, prediction, *levels, 0.0)
            assert torch.equal(std, none)
            assert (mean - euler).abs().max() < (1e-14 if kind == "cps" else 1e-300)


def test_the_ode_step_is_the_schedulers():
    scheduler = FlowMatchEulerDiscreteScheduler(
        shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, max_image_seq_len=4096
    )
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 6, 6), mu=0.63)
    torch.manual_seed(0)
    x, levels = torch.randn(2, 16, 64), scheduler.sigmas
    for step, time in enumerate(scheduler.timesteps):
        velocity = torch.randn_like(x)
        ours, _ = transition("ode", x, velocity, levels[step], levels[step + 1], levels[1], 0.0)
        x = scheduler.step(velocity, time, x, return_dict=False)[0]
        assert torch.equal(ours, x)


def test_cps_at_full_noise_is_the_schedulers_stochastic_sampling():
    scheduler = FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
    scheduler.set_timesteps(6)
    torch.manual_seed(0)
    x, velocity = torch.randn(2, 2, 16, 64)
    theirs = scheduler.step(
        velocity, scheduler.timesteps[0], x, generator=torch.Generator().manual_seed(1), return_dict=False
    )[0]
    drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    mean, std = transition("cps", x, velocity, *scheduler.sigmas[[0, 1, 1]], 1.0)
    assert (draw(mean, std, drawn) - theirs).abs().max() < 1e-6


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_is_the_schedulers(eta):
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    scheduler.set_timesteps(20)
    torch.manual_seed(0)
    level = scheduler.alphas_cumprod
    for step, time in enumerate(scheduler.timesteps):
        x, epsilon, drawn = torch.randn(3, 2, 4, 8, 8)
        after = level[scheduler.timesteps[step + 1]] if step < 19 else scheduler.final_alpha_cumprod
        mean, std = transition("ddim", x, epsilon, level[time], after, 0.0, eta)
        theirs = scheduler.step(epsilon, time, x, eta=eta, variance_noise=drawn if eta else None, return_dict=False)[0]
        assert (draw(mean, std, drawn) - theirs).abs().max() < 2e-6


# ------------------------------------------------------------------------------------- 5: ends of the schedule


@pytest.mark.parametrize(("kind", "scale"), [*STOCHASTIC, ("ode", 0.0), ("ddim", 1.0)])
@pytest.mark.parametrize("steps", [2, 6, 50])
def test_first_and_last_steps_are_finite(kind, scale, steps):
    levels = torch.linspace(0.0047, 1.0, steps + 1) if kind == "ddim" else schedule(steps, 3.0).float()
    torch.manual_seed(0)
    x, prediction = torch.randn(2, 2, 16)
    for step in range(steps):
        leaf = prediction.clone().requires_grad_()
        mean, std = transition(kind, x, leaf, levels[step], levels[step + 1], levels[1], scale)
        sample = draw(mean.detach(), std, torch.randn_like(x))
        found = log_prob(sample, mean, std)
        found.sum().backward()
        assert std.isfinite().all()
        assert found.isfinite().all()
        assert leaf.grad.isfinite().all()
        if kind == "flow_sde" and step == 0:
            assert std[0] == pytest.approx(scale * math.sqrt((1 - levels[1]) / (1 - levels[1])), rel=1e-6)


# ------------------------------------------------------------------------- 6, 7: the ratio of an unchanged policy


def velocity(x, level):
    return torch.tanh(1.3 * x + column(torch.as_tensor(level), x).to(x)) - x


def rollout(x, levels, sampler, scale, store, leak=False):
    """Return, of each step, what is stored of it; with `leak` the log-probability sees the sample before storage."""
    kept = []
    for step in range(len(levels) - 2):
        mean, std = transition(sampler, x, velocity(x, levels[step]), levels[step], levels[step + 1], levels[1], scale)
        fresh = torch.randn(x.shape, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        after = draw(mean, std, fresh[: len(x)], store)
        seen = draw(mean, std, fresh[: len(x)], mean.dtype) if leak else after
        kept.append((x, after, log_prob(seen, mean, std), step))
        x = after
    return kept


def replay(x, after, step, levels, sampler, scale):
    mean, std = transition(sampler, x, velocity(x, levels[step]), levels[step], levels[step + 1], levels[1], scale)
    return log_prob(after, mean, std)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("sampler", "scale"), STOCHASTIC)
def test_the_ratio_of_an_unchanged_policy_is_one_at_every_step_whatever_the_batch(sampler, scale, dtype):
    torch.manual_seed(0)
    levels, start = schedule(8, 3.0).float(), torch.randn(8, 6, 6, dtype=dtype)
    for x, after, old, step in rollout(start, levels, sampler, scale, dtype):
        assert x.dtype == after.dtype == dtype
        together = replay(x, after, step, levels, sampler, scale)
        alone = torch.cat([replay(x[i : i + 1], after[i : i + 1], step, levels, sampler, scale) for i in range(8)])
        for new in (together, alone):
            assert (new - old).abs().max() <= (0 if dtype == torch.float64 else 1e-6)


def test_a_policy_in_half_precision_is_stepped_in_single():
    x = torch.randn(2, 4, dtype=torch.bfloat16)
    mean, std = transition("flow_sde", x, x, 0.5, 0.4, 0.9, 0.7)
    assert mean.dtype == std.dtype == torch.float32
    assert torch.equal(mean, transition("flow_sde", x.float(), x.float(), 0.5, 0.4, 0.9, 0.7)[0])


def test_latents_stored_in_half_precision_are_scored_as_they_are_stored():
    torch.manual_seed(0)
    levels, start = schedule(10, 3.0).float(), torch.randn(4, 16, 16)
    for x, after, old, step in rollout(start, levels, "flow_sde", 0.7, torch.bfloat16):
        assert torch.equal(after, after.bfloat16().float())
        assert torch.equal(replay(x, after, step, levels, "flow_sde", 0.7), old)
    for x, after, old, step in rollout(start, levels, "flow_sde", 0.7, torch.bfloat16, leak=True):
        assert (replay(x, after, step, levels, "flow_sde", 0.7) - old).flatten(1).mean(1).abs().max() > 1e-7


# ---------------------------------------------------------------------------------------------------- 14: KL


def divergences(kind, scale, form):
    x, prediction, other, (now, after, first) = pair(kind)
    leaf = prediction.clone().requires_grad_()
    mean, std = transition(kind, x, leaf, now, after, first, scale)
    reference = transition(kind, x, other, now, after, first, scale)[0]
    gap = (now - after).abs().expand(2)
    return divergence(form, mean, reference, std, gap, leaf, other), (mean, reference, std, gap, leaf, other)


@pytest.mark.parametrize(("kind", "scale"), [*STOCHASTIC, ("ddim", 1.0)])
def test_exact_kl_is_torchs_and_flow_grpos_is_smaller_by_the_step(kind, scale):
    exact, (mean, reference, std, gap, _, _) = divergences(kind, scale, "exact")
    wide = column(std, mean)
    assert (exact - kl_divergence(Normal(mean, wide), Normal(reference, wide))).abs().max() < 1e-12
    theirs, _ = divergences(kind, scale, "flow_grpo")
    assert (theirs - exact * column(gap, mean)).abs().max() < 1e-12


def test_exact_kl_of_the_flow_sde_in_terms_of_velocities():
    exact, (_, _, std, gap, prediction, other) = divergences("flow_sde", 0.7, "exact")
    now = schedule(10, 3.0)[4]
    g = std[0] / gap[0].sqrt()
    factor = gap[0] / 2 * (g * (1 - now) / (2 * now) + 1 / g) ** 2
    assert (exact - factor * (prediction - other) ** 2).abs().max() < 1e-12
    assert torch.equal(divergences("flow_sde", 0.7, "velocity")[0], (prediction - other) ** 2)


@pytest.mark.parametrize("form", ["exact", "flow_grpo", "velocity"])
def test_kl_pulls_toward_the_reference_and_is_at_rest_there(form):
    values, (*_, prediction, other) = divergences("flow_sde", 0.7, form)
    (gradient,) = torch.autograd.grad(values.sum(), prediction)
    assert torch.equal(gradient.sign(), (prediction - other).sign())
    at_rest = prediction.detach().clone().requires_grad_()
    x, _, _, levels = pair("flow_sde")
    mean, std = transition("flow_sde", x, at_rest, *levels, 0.7)
    nothing = divergence(form, mean, mean.detach(), std, torch.ones(2).double(), at_rest, at_rest.detach())
    assert nothing.abs().max() == 0
    assert torch.autograd.grad(nothing.sum(), at_rest)[0].abs().max() == 0


# -------------------------------------------------------------------------------------------------- 17: noise


def test_noise_depends_on_what_it_is_for_and_on_nothing_else():
    first = noise((4, 8), 0, "scene-1", 2, 3)
    torch.manual_seed(12345)
    torch.randn(7)
    assert torch.equal(noise((4, 8), 0, "scene-1", 2, 3), first)
    others = [(1, "scene-1", 2, 3), (0, "scene-2", 2, 3), (0, "scene-1", 3, 3), (0, "scene-1", 2, 4)]
    others += [(0, "scene-12", 3, 3), (0, "scene-1", 23, -1), (0, "scene-1", 2, -1), (0, "scene-1", -1, 3)]
    drawn = [first, *(noise((4, 8), *parts) for parts in others)]
    assert len({tensor.sum().item() for tensor in drawn}) == len(drawn)


def test_noise_is_the_same_on_every_machine():
    assert derived(0, "scene-1", 2, 3) == 3888070798092446098
    assert noise((3,), 0, "scene-1", 2, 3).tolist() == pytest.approx([-1.3221667, 1.0813355, 0.6713468], abs=1e-6)


def test_noise_is_standard_normal():
    drawn = torch.stack([noise((1000,), 0, "scene", sample, 0) for sample in range(100)])
    assert drawn.mean().abs() < 0.01
    assert drawn.std() == pytest.approx(1, abs=0.01)
    assert (drawn @ drawn.T / 1000 - torch.eye(100)).fill_diagonal_(0).abs().max() < 0.2


def test_localised_noise_is_shared_outside_the_mask_and_normal_everywhere():
    torch.manual_seed(0)
    own, shared = torch.randn(20_000, 3), torch.randn(1, 3).expand(20_000, 3)
    found = localise(own, shared, torch.tensor([1.0, 0.0, 0.5]))
    assert torch.equal(found[:, 0], own[:, 0])
    assert torch.equal(found[:, 1], shared[:, 1])
    mixed = localise(own, torch.randn(20_000, 3), torch.tensor([1.0, 0.0, 0.5]), inside=0.9, outside=0.2)
    assert (mixed.std(0) - 1).abs().max() < 0.02
    assert found[:, 2].std() == pytest.approx(0.5, abs=0.01)


# ------------------------------------------------------------------------------------------------- windows


def test_the_default_window_is_the_first_half():
    assert window("half", 8) == ((0, 1, 2, 3), (0, 1, 2, 3))
    assert window("half", 7)[0] == (0, 1, 2)
    assert window("half", 2)[0] == (0,)
    assert window("all", 5)[0] == (0, 1, 2, 3)


def test_a_random_window_moves_within_the_first_half_the_same_way_every_time():
    seen = {window("random", 8, update)[0] for update in range(40)}
    assert seen == {(0, 1), (1, 2), (2, 3)}
    assert [window("random", 8, update, seed=1) for update in range(20)] != [
        window("random", 8, update, seed=2) for update in range(20)
    ]


def test_a_moving_window_steps_on_and_returns():
    starts = [window("moving", 6, update, size=2, interval=3)[0][0] for update in range(15)]
    assert starts == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 0, 0, 0]
    assert window("moving", 6, 9, size=2, interval=3) == ((3, 4), (3, 4))


def test_dance_draws_noise_in_all_but_the_last_and_trains_a_share():
    trained = [window("dance", 11, update) for update in range(50)]
    assert all(stochastic == tuple(range(10)) for stochastic, _ in trained)
    assert all(len(steps) == 6 for _, steps in trained)
    assert {step for _, steps in trained for step in steps} == set(range(10))


def test_what_no_window_can_do_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        window("half", 1)
    with pytest.raises(ValueError, match="window 'first', expected half"):
        window("first", 8)
