import math

import pytest
import torch

from edit_grpo_ref.credit import Standard, advantages, assign, by_size, region_weights, shuffled
from edit_grpo_ref.trust import Region, Trust, loss, region_mean

PLAIN = Trust("clip", 1e-4, size_aware=False)

# --------------------------------------------------------------------------------- 18, 19, 11: masks to weights


def box(height=64, width=64, top=9, bottom=31, left=6, right=45):
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize("grid", [(8, 8), (7, 5), (64, 64), (3, 64)])
def test_area_is_kept_whether_or_not_cells_fit_the_pixels(grid):
    edit, keep = region_weights(box(), grid, erode=0, band=1)
    assert edit.shape == keep.shape == (1, *grid)
    assert edit.mean() == pytest.approx(box().double().mean().item(), abs=1e-7)
    assert torch.allclose(edit + keep, torch.ones(1, *grid))
    assert edit.min() >= 0
    assert keep.min() >= 0


def test_a_cell_has_the_share_of_its_area_that_the_mask_covers():
    mask = torch.zeros(1, 4, 6)
    mask[0, 0, 0] = mask[0, 1, 5] = mask[0, 3, 2] = mask[0, 2, 4] = 1  # the last one is cut in half by two cells
    edit, _ = region_weights(mask, (2, 4), erode=0, band=1)  # cells of 2 rows and 1.5 columns
    assert torch.allclose(edit[0], torch.tensor([[1 / 3, 0, 0, 1 / 3], [0, 1 / 3, 1 / 6, 1 / 6]]), atol=1e-7)


def test_without_erosion_and_with_a_full_band_the_weights_are_the_soft_mask():
    mask = box()
    edit, keep = region_weights(mask, (8, 8), erode=0, band=1)
    soft = torch.nn.functional.avg_pool2d(mask[:, None].float(), 8)[:, 0]
    assert torch.equal(edit, soft)
    assert torch.equal(keep, 1 - soft)


@pytest.mark.parametrize("erode", [0, 1, 2])
def test_edit_keep_and_band_share_the_cells_among_them(erode):
    mask = box()
    bare_edit, bare_keep = region_weights(mask, (16, 16), erode, band=0)
    edit, keep = region_weights(mask, (16, 16), erode, band=0.2)
    ring = 1 - bare_edit - bare_keep
    assert set(ring.unique().tolist()) == {0, 1}
    assert set(bare_edit.unique().tolist()) == {0, 1}
    soft = torch.nn.functional.avg_pool2d(mask[:, None].float(), 4)[:, 0]
    assert torch.allclose(edit, bare_edit + 0.2 * ring * soft)
    assert torch.allclose(keep, bare_keep + 0.2 * ring * (1 - soft))


def test_erosion_takes_cells_on_both_sides_of_the_border_but_not_at_the_images_edge():
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[:, :, :4] = True  # it touches three edges of the image
    edit, keep = region_weights(mask, (8, 8), erode=1, band=0)
    assert edit[0].sum(0).tolist() == [8, 8, 8, 0, 0, 0, 0, 0]
    assert keep[0].sum(0).tolist() == [0, 0, 0, 0, 0, 8, 8, 8]
    assert region_weights(torch.ones(1, 8, 8), (4, 4), 2)[0].sum() == 16


def test_a_region_packed_into_tokens_is_the_region():
    torch.manual_seed(0)
    edit, _ = region_weights(box(), (8, 8), erode=0, band=1)
    values, weights = torch.randn(1, 3, 8, 8, dtype=torch.float64), edit[:, None].double()

    def packed(x):
        return x.reshape(1, -1, 4, 2, 4, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, 16, -1)

    tokens = packed(weights.expand(1, 3, 8, 8))
    assert region_mean(values, weights) == pytest.approx(region_mean(packed(values), tokens).item(), abs=1e-12)
    per_token = tokens.mean(-1).reshape(1, 4, 4)
    assert torch.allclose(per_token, region_weights(box(), (4, 4), erode=0, band=1)[0].double(), atol=1e-7)


def test_the_placebo_gives_every_prompt_the_masks_of_another():
    for prompts in (2, 3, 8):
        for update in range(20):
            order = shuffled(prompts, 0, update)
            assert sorted(order.tolist()) == list(range(prompts))
            assert (order != torch.arange(prompts)).all()
    assert len({tuple(shuffled(8, 0, update).tolist()) for update in range(20)}) > 10
    assert torch.equal(shuffled(8, 1, 2), shuffled(8, 1, 2))
    with pytest.raises(ValueError, match="at least 2 prompts"):
        shuffled(1, 0, 0)


# -------------------------------------------------------------------------------------------- 15, 16: advantages

REWARDS = torch.tensor([[1.0, 2.0, 3.0, 6.0], [0.0, 0.0, 4.0, 4.0]])
ALL = torch.ones(2, 4, dtype=torch.bool)


@pytest.mark.parametrize(
    ("std", "first", "second"),
    [
        ("group_biased", math.sqrt(3.5) + 1e-4, 2 + 1e-4),
        ("group_unbiased", math.sqrt(14 / 3) + 1e-8, math.sqrt(16 / 3) + 1e-8),
        ("batch", 2 + 1e-4, 2 + 1e-4),
        ("none", 1, 1),
    ],
)
def test_advantages_by_hand(std, first, second):
    found = advantages(REWARDS, ALL, Standard(std))
    assert torch.allclose(found[0], torch.tensor([-2.0, -1.0, 0.0, 3.0]) / first, rtol=1e-6)
    assert torch.allclose(found[1], torch.tensor([-2.0, -2.0, 2.0, 2.0]) / second, rtol=1e-6)


def test_the_std_of_the_batch_is_that_of_the_rewards_and_not_of_their_differences():
    rewards = torch.tensor([[0.0, 2.0], [10.0, 12.0]])
    found = advantages(rewards, torch.ones(2, 2, dtype=torch.bool), Standard("batch"))
    assert found[0, 1] == pytest.approx(1 / (math.sqrt(26) + 1e-4), rel=1e-6)


def test_a_failed_sample_is_out_of_its_groups_statistics():
    rewards, valid = REWARDS.clone(), ALL.clone()
    rewards[0, 3], valid[0, 3] = torch.nan, False
    for std in ("group_biased", "group_unbiased", "batch"):
        found = advantages(rewards, valid, Standard(std))
        assert found[0, 3] == 0
        assert found[0, 1] == 0
        assert found[0, 2] > 0
        assert found.isfinite().all()
    only = advantages(REWARDS[:1, :3], ALL[:1, :3], Standard("group_unbiased"))
    assert torch.equal(advantages(rewards[:1], valid[:1], Standard("group_unbiased"))[:, :3], only)


@pytest.mark.parametrize("std", ["group_biased", "group_unbiased", "batch", "none"])
def test_groups_without_a_difference_teach_nothing(std):
    equal = torch.tensor([[0.1] * 3, [0.0, 0.0, 1.0]], dtype=torch.float64)  # the mean of three 0.1 is not quite 0.1
    valid = torch.ones(2, 3, dtype=torch.bool)
    found = advantages(equal, valid, Standard(std))
    assert found[0].tolist() == [0, 0, 0]
    assert found[1, 2] > 0
    valid[1, :2] = False  # one is left
    assert advantages(equal, valid, Standard(std)).abs().max() == 0
    assert advantages(equal, ~ALL[:, :3], Standard(std)).abs().max() == 0


def test_groups_that_hardly_differ_or_are_saturated_teach_nothing():
    rewards = torch.tensor([[0.5, 0.51, 0.52], [0.2, 0.5, 0.8], [0.9, 0.95, 1.0]])
    valid = torch.ones(3, 3, dtype=torch.bool)
    teaches = advantages(rewards, valid, Standard(min_std=0.02, max_mean=0.9)).abs().sum(1) > 0
    assert teaches.tolist() == [False, True, False]
    assert (advantages(rewards, valid, Standard()).abs().sum(1) > 0).all()


def test_advantages_are_clipped():
    rewards = torch.zeros(1, 50)
    rewards[0, 0] = 1
    valid = torch.ones(1, 50, dtype=torch.bool)
    assert advantages(rewards, valid, Standard())[0, 0] == 5
    assert advantages(rewards, valid, Standard(clip=10))[0, 0] == pytest.approx(7, abs=0.01)


@pytest.mark.parametrize("std", ["group_biased", "group_unbiased", "batch"])
def test_advantages_do_not_depend_on_the_order_of_samples_or_on_the_shards(std):
    torch.manual_seed(0)
    rewards, valid = torch.rand(4, 12), torch.rand(4, 12) > 0.2
    expected = advantages(rewards, valid, Standard(std))
    order = torch.stack([torch.randperm(12) for _ in range(4)])
    permuted = advantages(rewards.gather(1, order), valid.gather(1, order), Standard(std))
    assert torch.equal(permuted, expected.gather(1, order))
    for ranks in (2, 4):  # each rank has some samples of every prompt; gathered, they stand in another order
        shards = [torch.arange(12)[rank::ranks] for rank in range(ranks)]
        gathered = torch.cat(shards)
        assert torch.equal(advantages(rewards[:, gathered], valid[:, gathered], Standard(std)), expected[:, gathered])
        if std != "batch":  # each rank has whole prompts
            parts = zip(rewards.chunk(ranks), valid.chunk(ranks), strict=True)
            assert torch.equal(torch.cat([advantages(*part, Standard(std)) for part in parts]), expected)


def test_advantages_do_not_depend_on_the_scale_or_origin_of_a_reward():
    torch.manual_seed(0)
    rewards, valid = torch.rand(4, 12), torch.ones(4, 12, dtype=torch.bool)
    for std in ("group_unbiased", "group_biased"):
        found = advantages(10 * rewards - 3, valid, Standard(std))
        assert torch.allclose(found, advantages(rewards, valid, Standard(std)), atol=2e-3)


def test_each_cell_of_a_map_is_a_group_of_its_own():
    torch.manual_seed(0)
    maps, valid = torch.rand(2, 5, 3, 3), torch.ones(2, 5, dtype=torch.bool)
    maps[:, :, 0, 0] = 0.3
    valid[1, 4] = False
    found = advantages(maps, valid, Standard(), offset=1e-3)
    assert found[:, :, 0, 0].abs().max() == 0
    assert found[1, 4].abs().max() == 0
    cell = maps[1, :4, 1, 2]
    expected = (cell - cell.mean()) / (cell.std(correction=0) + 1e-3)
    assert torch.allclose(found[1, :4, 1, 2], expected, atol=1e-6)


# ------------------------------------------------------------------------------------------- who gets which credit


def test_what_each_mode_assigns():
    edit, keep = REWARDS, torch.tensor([[0.1, 0.9, 0.2, 0.3], [0.5, 0.1, 0.7, 0.2]])
    of_edit, of_keep = (advantages(rewards, ALL, Standard()) for rewards in (edit, keep))
    summed = assign("global_sum", edit, keep, ALL, edit_weight=0.7)
    assert torch.allclose(summed["all"], advantages(0.7 * edit + 0.3 * keep, ALL, Standard()))
    assert torch.allclose(
        assign("advantage_sum", edit, keep, ALL, edit_weight=0.7)["all"], 0.7 * of_edit + 0.3 * of_keep
    )
    region = assign("region", edit, keep, ALL)
    assert list(region) == ["edit", "keep"]
    assert torch.equal(region["edit"], of_edit)
    assert torch.equal(region["keep"], of_keep)
    maps = {"keep": torch.rand(2, 4, 3, 3)}
    dense = assign("dense", edit, keep, ALL, maps=maps)
    assert torch.equal(dense["edit"], of_edit)
    assert torch.equal(dense["keep"], advantages(maps["keep"], ALL, Standard(), offset=1e-3))
    assert torch.equal(assign("region", edit, keep, ALL, maps=maps)["keep"], of_keep)


def test_cross_credit_mixes_advantages_and_maps():
    edit, keep = REWARDS, REWARDS.flip(1)
    plain = assign("region", edit, keep, ALL)
    mixed = assign("region", edit, keep, ALL, kappa=0.3)
    assert torch.allclose(mixed["edit"], plain["edit"] + 0.3 * plain["keep"])
    assert torch.allclose(mixed["keep"], plain["keep"] + 0.3 * plain["edit"])
    maps = {"keep": torch.rand(2, 4, 3, 2)}
    plain = assign("dense", edit, keep, ALL, maps=maps)
    mixed = assign("dense", edit, keep, ALL, kappa=0.3, maps=maps)
    assert torch.allclose(mixed["keep"], plain["keep"] + 0.3 * plain["edit"][..., None, None])
    assert torch.allclose(mixed["edit"], plain["edit"][..., None, None] + 0.3 * plain["keep"])


def test_each_reward_has_its_own_normalisation():
    found = assign("region", REWARDS, REWARDS, ALL, edit_standard=Standard("none"), keep_standard=Standard(min_std=10))
    assert found["edit"][0].tolist() == [-2, -1, 0, 3]
    assert found["keep"].abs().max() == 0


def test_advantages_by_size_by_hand():
    weights = torch.zeros(3, 2, 4)
    weights[0, 0, 0], weights[1, 0, :3], weights[2] = 1, 0.5, 0  # sizes 1, 1.5 and 0: mean 5/6
    found = by_size(REWARDS[:1].expand(3, -1), weights)
    expected = REWARDS[:1] * torch.tensor([1.2, 1.8, 0])[:, None]
    assert torch.allclose(found, expected.to(found)) and found.shape == (3, 4)
    maps = torch.rand(3, 4, 2, 4)
    assert torch.allclose(by_size(maps, weights), maps * torch.tensor([1.2, 1.8, 0])[:, None, None, None])
    assert torch.equal(by_size(maps, torch.ones(3, 2, 4)), maps)
    assert by_size(maps, torch.zeros(3, 2, 4)).abs().max() == 0


# ------------------------------------------------------------------------------------- the loss: batches for tests


class Batch:
    """A few steps of a policy that has moved a little since the rollout, in float64, with one parameter an element."""

    def __init__(self, moved=1e-3, shape=(4, 8, 8), size=6, std=0.3):
        torch.manual_seed(5)
        kind = {"dtype": torch.float64}
        self.std = torch.full((size,), std, **kind) * torch.linspace(0.5, 1.5, size, **kind)
        self.gap = torch.full((size,), 0.1, **kind)
        wide = self.std.reshape(-1, *[1] * len(shape))
        self.old_mean = torch.randn(size, *shape, **kind)
        self.noise = torch.randn(size, *shape, **kind)
        self.sample = self.old_mean + wide * self.noise
        self.mean = (self.old_mean + moved * wide * torch.randn(size, *shape, **kind)).requires_grad_()
        self.log_prob = -((self.sample - self.mean) ** 2) / (2 * wide**2)
        self.old_log_prob = -((self.sample - self.old_mean) ** 2) / (2 * wide**2)
        self.edit, self.keep = torch.randn(2, size, **kind)

    def loss(self, regions, **options):
        options.setdefault("trust", PLAIN)
        return loss(self.log_prob, self.old_log_prob, self.mean, self.old_mean, self.std, self.gap, regions, **options)

    def both(self, mask, edit=None, keep=None, shares="area", **options):
        edit, keep = self.edit if edit is None else edit, self.keep if keep is None else keep
        return self.loss({"edit": Region(edit, mask), "keep": Region(keep, 1 - mask)}, shares=shares, **options)[0]

    def flow_grpo(self, advantage, epsilon=1e-4):
        """Flow-GRPO's loss, written from its description: one ratio of the mean log-probability of a sample."""
        ratio = torch.exp((self.log_prob - self.old_log_prob).flatten(1).mean(1))
        return torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - epsilon, 1 + epsilon)).mean()

    def gradient(self, value):
        return torch.autograd.grad(value, self.mean, retain_graph=True)[0]


def square(batch):
    mask = torch.zeros(len(batch.std), 1, 8, 8, dtype=torch.float64)
    mask[..., 2:5, 2:6] = 1
    return mask


# ------------------------------------------------------------------------------------------- 8, 9: exact identities


@pytest.mark.parametrize("shares", ["area", "equal", "given"])
@pytest.mark.parametrize("moved", [0, 1e-3, 0.2])
def test_a_mask_that_is_everywhere_or_nowhere_makes_it_flow_grpo_to_the_last_bit(shares, moved):
    batch = Batch(moved)
    ones = torch.ones(6, 1, 8, 8, dtype=torch.float64)
    for mask, advantage in ((ones, batch.edit), (0 * ones, batch.keep), (None, batch.edit)):
        theirs = batch.flow_grpo(advantage)
        if mask is None:
            ours = batch.loss({"all": Region(advantage)}, shares=shares)[0]
        else:
            ours = batch.both(mask, shares=shares)
        assert (ours - theirs).abs() == 0
        assert (batch.gradient(ours) - batch.gradient(theirs)).abs().max() == 0


def test_in_single_precision_it_is_flow_grpo_too():
    batch = Batch(0.2)
    for name in ("log_prob", "old_log_prob", "std", "gap", "edit"):
        setattr(batch, name, getattr(batch, name).float())
    ours = batch.loss({"all": Region(batch.edit)})[0]
    assert (ours - batch.flow_grpo(batch.edit)).abs() < 1e-7


def test_with_equal_advantages_and_shares_by_area_it_is_flow_grpo():
    batch = Batch(0)
    ours = batch.both(square(batch), batch.edit, batch.edit)
    assert (batch.gradient(ours) - batch.gradient(batch.flow_grpo(batch.edit))).abs().max() < 1e-15


def test_with_full_cross_credit_and_shares_by_area_it_is_flow_grpo_on_the_sum_of_advantages():
    batch = Batch(0)
    total = batch.edit + batch.keep
    ours = batch.both(square(batch), batch.edit + 1.0 * batch.keep, batch.keep + 1.0 * batch.edit)
    assert (batch.gradient(ours) - batch.gradient(batch.flow_grpo(total))).abs().max() < 1e-15


@pytest.mark.parametrize("trust", [PLAIN, Trust(), Trust("kl_mask")])
@pytest.mark.parametrize("moved", [0, 0.02])
def test_a_map_of_one_advantage_is_that_advantage(trust, moved):
    batch = Batch(moved)
    mask = square(batch)
    scalar = batch.both(mask, trust=trust)
    spread = batch.both(mask, keep=batch.keep[:, None, None, None].expand(6, 1, 8, 8), trust=trust)
    assert scalar.item() == pytest.approx(spread.item(), rel=1e-12)
    assert (batch.gradient(scalar) - batch.gradient(spread)).abs().max() < 1e-15


@pytest.mark.parametrize("trust", [PLAIN, Trust(), Trust("kl_mask")])
@pytest.mark.parametrize("moved", [0, 0.02])
def test_a_map_means_the_same_whether_or_not_it_and_the_weights_are_spread_over_channels(moved, trust):
    batch = Batch(moved)
    maps, mask = torch.randn(6, 1, 8, 8, dtype=torch.float64), square(batch)
    values = []
    for wide_map in (maps, maps.expand(-1, 4, -1, -1)):
        for wide_mask in (mask, mask.expand(-1, 4, -1, -1)):
            value, log = batch.loss({"keep": Region(wide_map, wide_mask)}, trust=trust)
            values.append((value.item(), log["keep/blocked"].item(), batch.gradient(value).abs().sum().item()))
    assert all(found == pytest.approx(values[0], rel=1e-9) for found in values)


def test_a_map_gives_each_cell_its_own_gradient():
    batch = Batch(0)
    maps = torch.randn(6, 1, 8, 8, dtype=torch.float64)
    ours = batch.gradient(batch.loss({"keep": Region(maps)})[0])
    log_gradient = batch.noise / batch.std[:, None, None, None]  # of the log-density, with respect to the mean
    assert torch.allclose(ours, -maps * log_gradient / (6 * 4 * 64), atol=1e-15)


# ------------------------------------------------------------------------------------------ 10, 11: what is masked


def test_a_region_without_advantage_gets_no_gradient():
    batch = Batch(1e-3)
    mask = square(batch)
    gradient = batch.gradient(batch.both(mask, keep=0 * batch.keep))
    assert (gradient * (1 - mask)).abs().max() == 0
    assert (gradient * mask).abs().max() > 0


def test_parameters_of_pixels_are_spared_with_them_and_shared_parameters_are_not():
    torch.manual_seed(0)
    advantage = {"edit": Region(torch.tensor([1.0, -1.0]), square(Batch(size=2)).float())}
    old = torch.randn(2, 1, 8, 8)
    for shared in (False, True):
        network = torch.nn.Conv2d(1, 1, 3, padding=1)
        bias = torch.zeros(1, 8, 8, requires_grad=True)
        mean = network(old) if shared else old + bias
        log_prob = -((mean.detach() + torch.randn_like(old) - mean) ** 2) / 2
        value = loss(log_prob, log_prob.detach(), mean, mean.detach(), torch.ones(2), torch.ones(2), advantage)[0]
        parameter = network.weight if shared else bias
        (gradient,) = torch.autograd.grad(value, parameter)
        if shared:
            assert gradient.abs().min() > 0  # credit can be put in a place, what is learnt from it cannot
        else:
            assert (gradient[0, 2:5, 2:6] != 0).all()
            assert gradient[0, :2].abs().max() == gradient[0, 5:].abs().max() == 0


@pytest.mark.parametrize("trust", [PLAIN, Trust(), Trust("kl_mask")])
@pytest.mark.parametrize("shares", ["area", "equal", "given"])
def test_an_empty_region_leaves_its_share_to_the_other(shares, trust):
    batch = Batch(1e-3)
    mask = square(batch)
    mask[0], mask[1] = 1, 0
    both = {
        "edit": Region(batch.edit, mask, share=0.3, beta=0.1),
        "keep": Region(batch.keep, 1 - mask, share=0.7, beta=0.2),
    }
    value, log = batch.loss(both, shares=shares, trust=trust, divergence=(batch.mean - batch.old_mean) ** 2)
    assert value.isfinite()
    assert batch.gradient(value).isfinite().all()
    assert all(entry.isfinite() for entry in log.values())
    without = batch.gradient(batch.loss(both, shares=shares, trust=trust)[0])
    alone = batch.gradient(batch.loss({"all": Region(batch.edit)}, trust=trust)[0])
    assert torch.allclose(without[0], alone[0], atol=1e-15)


def test_a_mask_smaller_than_a_cell_is_no_cause_of_nan():
    tiny = torch.zeros(1, 64, 64)
    tiny[0, 3, 3] = 1
    edit, keep = region_weights(tiny, (8, 8))
    assert 0 < edit.sum() < 0.01
    batch = Batch(1e-3)
    regions = {"edit": Region(batch.edit, edit[:, None].double()), "keep": Region(batch.keep, keep[:, None].double())}
    value, log = batch.loss(regions, trust=Trust())
    assert batch.gradient(value).isfinite().all()
    assert all(entry.isfinite() for entry in log.values())


def test_shares_weigh_the_regions():
    batch = Batch(1e-3)
    mask = square(batch)
    of_edit = batch.gradient(batch.loss({"edit": Region(batch.edit, mask)})[0])
    area = mask.mean().item()
    for shares, part in (("area", area), ("equal", 0.5), ("given", 0.8)):
        both = {"edit": Region(batch.edit, mask, share=2.0), "keep": Region(batch.keep, 1 - mask, share=0.5)}
        gradient = batch.gradient(batch.loss(both, shares=shares)[0])
        assert torch.allclose(gradient * mask, part * of_edit, atol=1e-15)


def test_by_size_every_cell_of_a_region_has_one_pull_however_large_the_mask():
    batch = Batch(0)
    mask = torch.zeros(6, 1, 8, 8, dtype=torch.float64)
    mask[:3, ..., :1, :2], mask[3:, ..., :6, :6] = 1, 1
    plain = torch.ones(6, 1, dtype=torch.float64)
    pulls = {}
    for name, advantage in (("sample", plain), ("cell", by_size(plain, mask[:, 0]))):
        regions = {"edit": Region(advantage[:, 0], mask), "keep": Region(torch.zeros_like(advantage[:, 0]), 1 - mask)}
        value = batch.loss(regions, shares="given")[0]
        by_element = torch.autograd.grad(value, batch.log_prob, retain_graph=True)[0].mean(1)  # over channels
        pulls[name] = by_element[0, 0, 0].item(), by_element[5, 0, 0].item()
    assert pulls["cell"][0] == pytest.approx(pulls["cell"][1])
    assert pulls["sample"][0] == pytest.approx(18 * pulls["sample"][1])


# ------------------------------------------------------------------------------------------------- 12, 13: trust


def test_the_ratio_of_a_region_is_clipped_without_the_other():
    batch = Batch(0)
    mask = square(batch)
    up = torch.ones(6, dtype=torch.float64)
    batch.log_prob = batch.log_prob + 0.01 * mask  # out of range upward, in the edit region only
    gradient = batch.gradient(batch.both(mask, up, up))
    assert (gradient * mask).abs().max() == 0
    assert (gradient * (1 - mask)).abs().max() > 0
    back = batch.gradient(batch.both(mask, -up, up))  # a ratio that is too high may come down
    assert (back * mask).abs().max() > 0
    low = Trust("clip", 1e-4, epsilon_high=0.02, size_aware=False)
    assert (batch.gradient(batch.both(mask, up, up, trust=low)) * mask).abs().max() > 0


def test_what_has_moved_is_stopped_by_the_kl_mask_only_on_its_way_out():
    batch = Batch(0.02)
    one = torch.ones(6, dtype=torch.float64)
    ratio = (batch.log_prob - batch.old_log_prob).flatten(1).mean(1)
    outward = torch.where(ratio > 0, one, -one)
    far, near = Trust("kl_mask", threshold=1e-5), Trust("kl_mask", threshold=1e-2)
    gradient = {
        (name, trust.threshold): batch.gradient(batch.loss({"all": Region(advantage)}, trust=trust)[0]).abs().max()
        for name, advantage in (("out", outward), ("back", -outward))
        for trust in (far, near)
    }
    assert gradient["out", 1e-5] == 0
    assert min(gradient["back", 1e-5], gradient["out", 1e-2], gradient["back", 1e-2]) > 0


def drift(size, draws, std=0.3, distance=0.02):
    """Return a batch of one region of `size` elements, moved by `distance` std (rms), and its tensors for the loss."""
    torch.manual_seed(size)
    shift = torch.randn(size)
    shift *= distance * std / shift.square().mean().sqrt()
    old = torch.zeros(draws, size)
    sample = std * torch.randn(draws, size)
    new = old + shift
    wide = torch.full((draws,), std)
    return (
        -((sample - new) ** 2) / (2 * std**2),
        -((sample - old) ** 2) / (2 * std**2),
        new,
        old,
        wide,
        torch.ones(draws),
    )


CLIPPED = {  # by size: plain, plain and size-aware, guard, guard and size-aware
    64: (0.97, 0.52, 0.89, 0.20),
    1024: (0.88, 0.55, 0.60, 0.19),
    4096: (0.79, 0.61, 0.29, 0.21),
    16384: (0.76, 0.76, 0.03, 0.20),
}


@pytest.mark.parametrize(("size", "expected"), CLIPPED.items())
def test_only_the_guard_with_a_size_aware_range_clips_regions_of_all_sizes_alike(size, expected):
    tensors = drift(size, 600 if size > 4096 else 2000)
    # A sample of 16384 elements, of which the region has `size`: the rest are zeros of weight 0.
    weights = torch.ones(1, size)
    scarce = 16384 / size
    for (kind, epsilon, aware), share in zip(
        [("clip", 1e-4, False), ("clip", 1e-4, True), ("guard", 1e-4 / 0.3, False), ("guard", 2e-4, True)],
        expected,
        strict=True,
    ):
        # `loss` sees the region as the whole sample, so the factor is put in by hand and tested below.
        trust = Trust(kind, epsilon * (math.sqrt(scarce) if aware else 1), size_aware=False)
        _, log = loss(*tensors, {"edit": Region(torch.ones(1), weights)}, trust=trust)
        assert log["edit/clip_fraction"].item() == pytest.approx(share, abs=0.05)
    assert log["edit/clip_fraction"].item() == pytest.approx(0.2, abs=0.03)


def test_a_size_aware_range_widens_as_the_root_of_scarcity():
    batch = Batch(0)
    mask = torch.zeros(6, 1, 8, 8, dtype=torch.float64)
    mask[..., 0, :4] = 1  # 4 of 64 cells: 4 times as wide
    half = 0.5 * mask  # the same mean from the same elements, as noisy
    up = torch.ones(6, dtype=torch.float64)
    for weights in (mask, half):
        for step, blocked in ((3.9e-4, False), (4.1e-4, True)):
            batch = Batch(0)
            batch.log_prob = batch.log_prob + step
            value, log = batch.loss({"edit": Region(up, weights)}, trust=Trust("clip", 1e-4))
            assert (batch.gradient(value).abs().max() == 0) == blocked
            assert log["edit/blocked"] == log["edit/clip_fraction"] == blocked


@pytest.mark.parametrize("size", [64, 1024, 16384])
def test_a_plain_log_ratio_is_biased_whatever_the_size_and_noisy_by_it(size):
    draws, distance = 600 if size > 4096 else 4000, 0.02
    _, log = loss(*drift(size, draws, distance=distance), {"all": Region(torch.ones(1))}, trust=PLAIN)
    spread = distance / math.sqrt(size)
    assert log["all/ratio"].item() - 1 == pytest.approx(-(distance**2) / 2, abs=4 * spread / math.sqrt(draws))
    assert log["all/log_ratio_std"].item() == pytest.approx(spread, rel=0.1)
    assert log["all/moved"].item() == pytest.approx(distance**2 / 2, rel=1e-3)


@pytest.mark.parametrize("std", [0.05, 0.3, 1.0])
def test_the_guard_takes_out_the_bias_and_what_the_step_size_adds(std):
    size, draws = 256, 4000
    log_prob, old, new, old_mean, wide, gap = drift(size, draws, std, distance=0.006 / std)  # the same shift in pixels
    trust = Trust("guard")
    _, log = loss(log_prob, old, new, old_mean, wide, gap, {"all": Region(torch.ones(1))}, trust=trust)
    spread = 0.006 / math.sqrt(size)
    assert abs(log["all/ratio"].item() - 1) < 3 * spread / math.sqrt(draws)
    assert log["all/log_ratio_std"].item() == pytest.approx(spread, rel=0.05)


def test_the_guards_log_ratio_is_the_mean_of_noise_times_shift():
    batch = Batch(0.05)
    mask = square(batch)
    one = torch.ones(1, dtype=torch.float64)
    for row in range(6):
        rows = slice(row, row + 1)
        value, log = loss(
            *(t[rows] for t in (batch.log_prob, batch.old_log_prob, batch.mean, batch.old_mean, batch.std, batch.gap)),
            {"edit": Region(-one, mask[rows])},
            trust=Trust("guard", epsilon=100.0),
        )
        shift = (batch.noise * (batch.mean - batch.old_mean))[rows]
        expected = (shift * mask[rows]).sum() / (mask[rows].sum() * 4)
        assert value.item() * 0.1 == pytest.approx(math.exp(expected.item()), rel=1e-12)  # divided by the gap of 0.1
        assert log["edit/ratio"].item() == pytest.approx(math.exp(expected.item()), rel=1e-6)
        linear = batch.gradient(value)[rows] * 0.1 / value.item() / 0.1
        assert torch.allclose(linear, batch.noise[rows] * mask[rows] / (mask[rows].sum() * 4), atol=1e-14)


def test_a_ratio_in_single_precision_is_told_from_one_by_less_than_single_precision_can():
    batch = Batch(0)
    up = torch.ones(6)
    for step, blocked in ((0.9e-8, False), (1.1e-8, True)):
        tensors = (torch.full((6, 4, 8, 8), step), torch.zeros(6, 4, 8, 8), batch.mean.float(), batch.mean.float())
        _, log = loss(*tensors, up, up, {"all": Region(up)}, trust=Trust("clip", 1e-8))
        assert log["all/blocked"] == blocked


def test_a_deterministic_step_teaches_nothing():
    batch = Batch(0)
    batch.std[0] = 0
    batch.log_prob = batch.log_prob * (batch.std > 0).reshape(6, 1, 1, 1)
    batch.old_log_prob = batch.log_prob.detach()
    for trust in (PLAIN, Trust(), Trust("kl_mask")):
        value, log = batch.loss({"all": Region(batch.edit)}, trust=trust)
        gradient = batch.gradient(value)
        assert gradient[0].abs().max() == 0
        assert gradient[1:].abs().amax((1, 2, 3)).min() > 0
        assert all(entry.isfinite() for entry in log.values())


# -------------------------------------------------------------------------------------------------- KL per region


def test_kl_is_weighed_by_region_and_pulls_only_there():
    batch = Batch(0.05)
    mask = square(batch)
    divergence = (batch.mean - batch.old_mean) ** 2
    nothing = torch.zeros(6, dtype=torch.float64)
    regions = {"edit": Region(nothing, mask, beta=0.0), "keep": Region(nothing, 1 - mask, beta=0.5)}
    value, log = batch.loss(regions, divergence=divergence)
    of_keep = (divergence * (1 - mask)).flatten(1).sum(1) / ((1 - mask).flatten(1).sum(1) * 4)
    assert value.item() == pytest.approx(0.5 * of_keep.mean().item(), rel=1e-12)
    assert log["keep/kl"].item() == pytest.approx(of_keep.mean().item(), rel=1e-6)
    gradient = batch.gradient(value)
    assert (gradient * mask).abs().max() == 0
    expected = 0.5 * 2 * (batch.mean - batch.old_mean) * (1 - mask) / (4 * (1 - mask)[0].sum()) / 6
    assert torch.allclose(gradient, expected.detach(), atol=1e-15)


def test_statistics_are_of_the_samples_that_have_the_region():
    batch = Batch(0)
    mask = square(batch)
    mask[3:] = 0
    batch.log_prob = batch.log_prob + torch.tensor([0.0, 0.0, 0.03] * 2).reshape(6, 1, 1, 1)
    _, log = batch.loss({"edit": Region(batch.edit, mask), "keep": Region(batch.keep, 1 - mask)})
    assert log["edit/ratio"].item() == pytest.approx(1 + (math.exp(0.03) - 1) / 3, rel=1e-6)
    assert log["edit/clip_fraction"].item() == pytest.approx(1 / 3)
    assert set(log) == {
        f"{region}/{what}"
        for region in ("edit", "keep")
        for what in ("ratio", "log_ratio_std", "clip_fraction", "blocked", "moved", "kl")
    }


# ------------------------------------------------------------------------------ 20: the estimator itself, by REINFORCE


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0])
def test_full_cross_credit_is_unbiased_and_without_it_what_leaks_is_missing(kappa):
    # Two pixels, a ~ N(theta, 1); the edit's reward leaks into the pixel to be kept: r_edit = a0 + c a1.
    leak, theta, draws = 0.5, torch.tensor([0.3, -0.2], dtype=torch.float64), 400_000
    torch.manual_seed(0)
    action = theta + torch.randn(draws, 2, dtype=torch.float64)
    edit, keep = action[:, 0] + leak * action[:, 1], -(action[:, 1] ** 2) / 2
    valid = torch.ones(1, draws, dtype=torch.bool)
    raw = Standard("none", clip=math.inf)
    credit = assign("region", edit[None], keep[None], valid, kappa=kappa, edit_standard=raw, keep_standard=raw)
    parameter = theta.clone().requires_grad_()
    mean = parameter.expand(draws, 2)
    log_prob = -((action - mean) ** 2) / 2
    mask = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    one = torch.ones(draws, dtype=torch.float64)
    regions = {
        "edit": Region(credit["edit"][0].double(), mask),
        "keep": Region(credit["keep"][0].double(), 1 - mask),
    }
    value, _ = loss(log_prob, log_prob.detach(), mean, mean.detach(), one, one, regions, "equal", PLAIN)
    gradient = -2 * torch.autograd.grad(value, parameter)[0]  # two regions of equal share
    truth = torch.tensor([1.0, leak - theta[1].item()])
    error = 3 * math.sqrt(5 / draws)  # the variance of one draw is 2.6 to 4.5
    assert gradient[0].item() == pytest.approx(truth[0].item(), abs=error)
    assert gradient[1].item() == pytest.approx(truth[1].item() - (1 - kappa) * leak, abs=error)


# ---------------------------------------------------------------------------- 25: every method learns a simple task


@pytest.mark.parametrize("trust", [PLAIN, Trust("guard"), Trust("kl_mask", threshold=0.05)], ids=lambda t: t.kind)
@pytest.mark.parametrize("mode", ["global_sum", "advantage_sum", "region", "dense"])
def test_two_pixels_learn_what_they_are_asked_for(mode, trust):
    # The first pixel is to become 1, the second to stay 0; both start halfway in between.
    generator = torch.Generator().manual_seed(0)
    parameter = torch.tensor([0.5, 0.5], requires_grad=True)
    optimiser = torch.optim.Adam([parameter], lr=0.02)
    std, valid = torch.full((4 * 12,), 0.1), torch.ones(4, 12, dtype=torch.bool)
    mask = torch.tensor([[1.0, 0.0]])
    for _ in range(200):
        old = parameter.detach().expand(48, 2)
        sample = old + 0.1 * torch.randn(48, 2, generator=generator)
        error = -(sample - mask).abs().reshape(4, 12, 2)
        maps = {"keep": error[:, :, None, 1:].expand(4, 12, 1, 2)}
        credit = assign(mode, error[..., 0], error[..., 1], valid, maps=maps)
        mean = parameter.expand(48, 2)
        log_prob = -((sample - mean) ** 2) / (2 * 0.1**2)
        weights = {"all": None, "edit": mask, "keep": 1 - mask}
        regions = {name: Region(value.reshape(48, *value.shape[3:]), weights[name]) for name, value in credit.items()}
        value, _ = loss(log_prob, log_prob.detach(), mean, old, std, torch.ones(48), regions, "equal", trust)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    assert parameter.detach().tolist() == pytest.approx([1, 0], abs=0.06)
