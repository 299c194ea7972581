"""A pipeline of every family that edits with diffusers: a hundred thousand random parameters each."""

LETTERS = [*range(33, 127), *range(161, 173), *range(174, 256)]
OTHERS = [byte for byte in range(256) if byte not in LETTERS]
BYTES = [chr(byte) for byte in LETTERS] + [chr(256 + place) for place in range(len(OTHERS))]
"""How byte-level tokenizers write each byte."""


def clip_text(projection=False):
    """Return a tokenizer and a text model of CLIP."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    words = [*BYTES, *(byte + "</w>" for byte in BYTES), "<|startoftext|>", "<|endoftext|>"]
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=16,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
        pad_token_id=len(words) - 1,
    )
    tokenizer = CLIPTokenizer(vocab={word: place for place, word in enumerate(words)}, merges=[], model_max_length=77)
    return tokenizer, (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def t5_text(width=16):
    """Return a tokenizer and an encoder of T5, which knows letters."""
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(chr(97 + letter), -3.0) for letter in range(26)]
    config = T5Config(vocab_size=len(pieces), d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return T5Tokenizer(vocab=pieces, extra_ids=0), T5EncoderModel(config)


def vae(channels, **options):
    """Return a VAE that makes latents of an eighth of the size."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=channels,
        **{"use_quant_conv": False, "use_post_quant_conv": False, **options},
    )


def flux(cls="FluxKontextPipeline", channels=16):
    """Return a pipeline of FLUX.1; `channels` go into its transformer and 16 come out."""
    import diffusers

    tokenizer, text_encoder = clip_text()
    tokenizer_2, text_encoder_2 = t5_text()
    return getattr(diffusers, cls)(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(
            shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, max_image_seq_len=4096
        ),
        vae=vae(4, scaling_factor=0.36, shift_factor=0.12),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        transformer=diffusers.FluxTransformer2DModel(
            in_channels=channels,
            out_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            guidance_embeds=True,
            axes_dims_rope=(4, 6, 6),
        ),
    )


def chroma():
    import diffusers

    tokenizer, text_encoder = t5_text()
    return diffusers.ChromaImg2ImgPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=False),
        vae=vae(4, scaling_factor=0.36, shift_factor=0.12),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=diffusers.ChromaTransformer2DModel(
            in_channels=16,
            out_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(4, 6, 6),
            approximator_num_channels=8,
            approximator_hidden_dim=16,
            approximator_layers=1,
        ),
    )


CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


def qwen_tokenizer():
    """Return a tokenizer of letters, and the number of each of its words."""
    from transformers import Qwen2Tokenizer

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
    special += ["<|image_pad|>", "<|video_pad|>"]
    number = {word: place for place, word in enumerate([*BYTES, *special])}
    tokenizer = Qwen2Tokenizer(vocab=number, merges=[], additional_special_tokens=special[1:])
    tokenizer.chat_template = CHAT
    return tokenizer, number


def qwen3_text(layers):
    """Return a tokenizer and a language model as FLUX.2 klein and Z-Image read their prompts with."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer, number = qwen_tokenizer()
    config = Qwen3Config(
        vocab_size=len(number),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        bos_token_id=number["<|im_start|>"],
        eos_token_id=number["<|im_end|>"],
        pad_token_id=number["<|endoftext|>"],
    )
    return tokenizer, Qwen3ForCausalLM(config)


def mistral_text(layers):
    """Return a processor and a model that also sees, as FLUX.2 dev reads its prompts with."""
    from transformers import (
        Mistral3Config,
        Mistral3ForConditionalGeneration,
        PixtralImageProcessor,
        PixtralProcessor,
        Qwen2Tokenizer,
    )

    special = ["<|endoftext|>", "[IMG]", "[IMG_BREAK]", "[IMG_END]"]
    number = {word: place for place, word in enumerate([*BYTES, *special])}
    tokenizer = Qwen2Tokenizer(vocab=number, merges=[], additional_special_tokens=special[1:])
    text = {
        "model_type": "mistral",
        "vocab_size": len(number),
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    vision = {"model_type": "pixtral", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = Mistral3Config(
        text_config=text,
        vision_config={**vision, "num_attention_heads": 2, "image_size": 32, "patch_size": 16},
        image_token_index=number["[IMG]"],
    )
    processor = PixtralProcessor(
        image_processor=PixtralImageProcessor(),
        tokenizer=tokenizer,
        chat_template="{% for message in messages %}{% for part in message.content %}{{ part.text }}\n"
        "{% endfor %}{% endfor %}",
    )
    return processor, Mistral3ForConditionalGeneration(config)


def flux2(cls):
    import diffusers

    tokenizer, text_encoder = qwen3_text(layers=27) if "Klein" in cls else mistral_text(layers=30)
    return getattr(diffusers, cls)(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=diffusers.AutoencoderKLFlux2(
            block_out_channels=(4, 4, 4, 4), layers_per_block=1, norm_num_groups=2, latent_channels=4
        ),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=diffusers.Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=48,
            timestep_guidance_channels=16,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds="Klein" not in cls,
        ),
    )


def z_image(cls):
    import diffusers

    tokenizer, text_encoder = qwen3_text(layers=2)
    return getattr(diffusers, cls)(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(4, scaling_factor=0.36, shift_factor=0.12),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=diffusers.ZImageTransformer2DModel(
            in_channels=4,
            dim=32,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=16,
            axes_dims=[4, 6, 6],
            axes_lens=[1024, 64, 64],
        ),
    )


def omnigen():
    import diffusers
    from transformers import LlamaTokenizer

    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -2.0)]
    pieces += [(chr(33 + letter), -3.0) for letter in range(94)]
    return diffusers.OmniGenPipeline(
        transformer=diffusers.OmniGenTransformer2DModel(
            hidden_size=16,
            num_attention_heads=2,
            num_key_value_heads=2,
            intermediate_size=16,
            num_layers=2,
            pad_token_id=0,
            vocab_size=110,
            time_step_dim=16,
            rope_scaling={"long_factor": [1.0] * 4, "short_factor": [1.0] * 4},
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
        vae=vae(4, scaling_factor=0.18215),
        tokenizer=LlamaTokenizer(vocab={word: place for place, (word, _) in enumerate(pieces)}, merges=[]),
    )


def qwen_vl():
    """Return a tokenizer, a processor and a vision-language model of Qwen2.5-VL."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer, number = qwen_tokenizer()
    text = {
        "vocab_size": len(number),
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
        "bos_token_id": number["<|im_start|>"],
        "eos_token_id": number["<|im_end|>"],
        "pad_token_id": number["<|endoftext|>"],
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config={**vision, "fullatt_block_indexes": [0]},
        image_token_id=number["<|image_pad|>"],
        video_token_id=number["<|video_pad|>"],
        vision_start_token_id=number["<|vision_start|>"],
        vision_end_token_id=number["<|vision_end|>"],
    )
    processor = Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=28 * 28 * 400),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
    )
    return tokenizer, processor, Qwen2_5_VLForConditionalGeneration(config)


def qwen(cls):
    """Return a pipeline of Qwen-Image; those that edit look at the source with a processor."""
    import diffusers

    tokenizer, processor, text_encoder = qwen_vl()
    return getattr(diffusers, cls)(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02
        ),
        vae=diffusers.AutoencoderKLQwenImage(
            base_dim=4,
            z_dim=4,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
            latents_mean=[0.1, -0.2, 0.3, 0.0],
            latents_std=[1.5, 2.0, 0.8, 1.0],
        ),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        **({"processor": processor} if "Edit" in cls else {}),
        transformer=diffusers.QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(4, 6, 6),
        ),
    )


def longcat():
    import diffusers

    tokenizer, processor, text_encoder = qwen_vl()
    return diffusers.LongCatImageEditPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae(16, scaling_factor=0.36, shift_factor=0.12),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_processor=processor,
        transformer=diffusers.LongCatImageTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            axes_dims_rope=[4, 6, 6],
        ),
    )


def kandinsky():
    import diffusers

    _, processor, text_encoder = qwen_vl()
    tokenizer_2, text_encoder_2 = clip_text()
    return diffusers.Kandinsky5I2IPipeline(
        transformer=diffusers.Kandinsky5Transformer3DModel(
            in_visual_dim=4,
            out_visual_dim=4,
            in_text_dim=16,
            in_text_dim2=16,
            time_dim=16,
            model_dim=32,
            ff_dim=32,
            num_text_blocks=1,
            num_visual_blocks=1,
            axes_dims=(4, 6, 6),
            visual_cond=True,
        ),
        vae=vae(4, scaling_factor=0.36),
        text_encoder=text_encoder,
        tokenizer=processor,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def sd3(cls="StableDiffusion3Img2ImgPipeline", channels=4):
    import diffusers

    tokenizer, text_encoder = clip_text(projection=True)
    tokenizer_2, text_encoder_2 = clip_text(projection=True)
    tokenizer_3, text_encoder_3 = t5_text(width=32)
    return getattr(diffusers, cls)(
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=channels,
            out_channels=channels,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            caption_projection_dim=16,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            pos_embed_max_size=16,
            qk_norm="rms_norm",
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(channels, scaling_factor=1.5, shift_factor=0.06),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        text_encoder_3=text_encoder_3,
        tokenizer_3=tokenizer_3,
    )


DOWN = {
    "block_out_channels": (8, 8, 16),
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
    "down_block_types": ("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
}
"""The halves of a UNet; LEDITS++ wants attention at a quarter of the latent's size."""
UP = {"up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D")}


NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
CONVOLVED = {"use_quant_conv": True, "use_post_quant_conv": True}


def unet_scheduler(cls):
    """Return DDIM's scheduler; for LEDITS++ that of Stable Diffusion 1.5, which it replaces by one of its own."""
    import diffusers

    if cls.startswith("LEdits"):
        return diffusers.PNDMScheduler(**NOISE, skip_prk_steps=True)
    return diffusers.DDIMScheduler(**NOISE, clip_sample=False, set_alpha_to_one=False)


def sd(cls="StableDiffusionInstructPix2PixPipeline", channels=8, checked=False, **parts):
    """Return a pipeline of Stable Diffusion; `checked` ones have a safety checker that lets nothing pass."""
    import diffusers

    tokenizer, text_encoder = clip_text()
    return getattr(diffusers, cls)(
        vae=vae(4, scaling_factor=0.18215, **CONVOLVED),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=diffusers.UNet2DConditionModel(
            **DOWN,
            **UP,
            sample_size=64,
            in_channels=channels,
            out_channels=4,
            cross_attention_dim=16,
        ),
        scheduler=unet_scheduler(cls),
        **(checker() if checked else {"safety_checker": None, "feature_extractor": None}),
        requires_safety_checker=checked,
        **parts,
    )


def checker():
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(vision_config={**shape, "image_size": 28, "patch_size": 14}, projection_dim=16)
    refuses = StableDiffusionSafetyChecker(config)
    refuses.concept_embeds_weights.data.fill_(-5)  # the likeness from which on something is refused
    size = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
    return {"safety_checker": refuses, "feature_extractor": CLIPImageProcessor(**size)}


def controlnet(**shape):
    from diffusers import ControlNetModel

    return ControlNetModel(**DOWN, **shape, in_channels=4, conditioning_embedding_out_channels=(4, 8, 8, 8))


def sd_controlnet():
    parts = {"controlnet": controlnet(cross_attention_dim=16)}
    return sd("StableDiffusionControlNetInpaintPipeline", channels=4, **parts)


XL = {
    "cross_attention_dim": 32,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 16,
}


def sdxl(cls, channels=4, **parts):
    import diffusers

    tokenizer, text_encoder = clip_text()
    tokenizer_2, text_encoder_2 = clip_text(projection=True)
    return getattr(diffusers, cls)(
        vae=vae(4, scaling_factor=0.13025, **CONVOLVED),
        text_encoder=text_encoder,
        text_encoder_2=text_encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=diffusers.UNet2DConditionModel(
            **DOWN,
            **UP,
            sample_size=64,
            in_channels=channels,
            out_channels=4,
            **XL,
        ),
        scheduler=unet_scheduler(cls),
        add_watermarker=False,
        **parts,
    )


def sdxl_controlnet():
    return sdxl("StableDiffusionXLControlNetInpaintPipeline", controlnet=controlnet(**XL))


TOYS = {
    "StableDiffusionInstructPix2PixPipeline": sd,
    "StableDiffusionXLInstructPix2PixPipeline": lambda: sdxl("StableDiffusionXLInstructPix2PixPipeline", channels=8),
    "FluxKontextPipeline": flux,
    "Flux2Pipeline": lambda: flux2("Flux2Pipeline"),
    "Flux2KleinPipeline": lambda: flux2("Flux2KleinPipeline"),
    "QwenImageEditPipeline": lambda: qwen("QwenImageEditPipeline"),
    "QwenImageEditPlusPipeline": lambda: qwen("QwenImageEditPlusPipeline"),
    "LongCatImageEditPipeline": longcat,
    "Kandinsky5I2IPipeline": kandinsky,
    "OmniGenPipeline": omnigen,
    "LEditsPPPipelineStableDiffusion": lambda: sd("LEditsPPPipelineStableDiffusion", channels=4),
    "LEditsPPPipelineStableDiffusionXL": lambda: sdxl("LEditsPPPipelineStableDiffusionXL"),
    "StableDiffusionImg2ImgPipeline": lambda: sd("StableDiffusionImg2ImgPipeline", channels=4),
    "StableDiffusionXLImg2ImgPipeline": lambda: sdxl("StableDiffusionXLImg2ImgPipeline"),
    "StableDiffusion3Img2ImgPipeline": sd3,
    "FluxImg2ImgPipeline": lambda: flux("FluxImg2ImgPipeline"),
    "ChromaImg2ImgPipeline": chroma,
    "QwenImageImg2ImgPipeline": lambda: qwen("QwenImageImg2ImgPipeline"),
    "ZImageImg2ImgPipeline": lambda: z_image("ZImageImg2ImgPipeline"),
    "StableDiffusionInpaintPipeline": lambda: sd("StableDiffusionInpaintPipeline", channels=9),
    "StableDiffusionXLInpaintPipeline": lambda: sdxl("StableDiffusionXLInpaintPipeline", channels=9),
    "StableDiffusion3InpaintPipeline": lambda: sd3("StableDiffusion3InpaintPipeline", channels=16),
    "StableDiffusionControlNetInpaintPipeline": sd_controlnet,
    "StableDiffusionXLControlNetInpaintPipeline": sdxl_controlnet,
    "FluxFillPipeline": lambda: flux("FluxFillPipeline", channels=16 + 16 + 256),
    "FluxInpaintPipeline": lambda: flux("FluxInpaintPipeline"),
    "FluxKontextInpaintPipeline": lambda: flux("FluxKontextInpaintPipeline"),
    "Flux2KleinInpaintPipeline": lambda: flux2("Flux2KleinInpaintPipeline"),
    "QwenImageInpaintPipeline": lambda: qwen("QwenImageInpaintPipeline"),
    "QwenImageEditInpaintPipeline": lambda: qwen("QwenImageEditInpaintPipeline"),
    "ZImageInpaintPipeline": lambda: z_image("ZImageInpaintPipeline"),
    # not families of their own
    "checked": lambda: sd("StableDiffusionImg2ImgPipeline", channels=4, checked=True),
    "text-to-image": lambda: sd("StableDiffusionPipeline", channels=4),
    # as the trainer calls them
    "kontext": flux,
    "qwen": lambda: qwen("QwenImageEditPipeline"),
    "qwen_plus": lambda: qwen("QwenImageEditPlusPipeline"),
    "sd3": sd3,
    "pix2pix": sd,
}


def build(family):
    """Return a pipeline of random weights, among them those that a new model has at 0; the same ones every time."""
    import torch

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        pipe = TOYS[family]()
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                for weight in part.eval().parameters():
                    weight += 0.1 * torch.randn(weight.shape)
    pipe.set_progress_bar_config(disable=True)
    return pipe
