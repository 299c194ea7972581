"""What comes with the package: names, where their code is, and one line about each, so that `list` imports nothing."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["suite", "editor", "metric", "policy"]
"""What a spec can name. Policies are the trainer's, and so is the table of their names."""


class Entry(NamedTuple):
    """A built-in component: where it lives and one line about it, so that `list` imports nothing."""

    path: str
    about: str


BUILT_IN: dict[Kind, dict[str, Entry]] = {
    "suite": {
        "shapes@1": Entry("editbench.suites.shapes:Shapes", "240 rendered scenes with exact targets, masks and checks"),
        "photos@1": Entry("editbench.suites.photos:Photos", "scikit-image's photographs with hand-drawn masks"),
        "folder": Entry("editbench.suites.folder:FolderSuite", "your own data: folder:PATH with a scenarios.jsonl"),
        "anyedit": Entry("editbench.suites.anyedit:AnyEdit", "AnyEdit: 25 types of edits with targets, no masks"),
        "brushbench": Entry(
            "editbench.suites.brushbench:BrushBench", "BrushBench: to be filled inside and outside of objects"
        ),
        "coco": Entry(
            "editbench.suites.coco:Coco", "COCO instances: every object a removal, masks from polygons or runs"
        ),
        "compbench": Entry("editbench.suites.compbench:CompBench", "CompBench: crowded scenes, masks, targets, turns"),
        "editbench_imagen": Entry(
            "editbench.suites.editbench_imagen:EditbenchImagen", "EditBench of Imagen Editor: 240 pictures to inpaint"
        ),
        "editval": Entry(
            "editbench.suites.editval:EditVal", "EditVal: edits by attribute of COCO photographs, no masks"
        ),
        "emuedit": Entry("editbench.suites.emuedit:EmuEdit", "Emu Edit test set: seven tasks, no masks, no targets"),
        "gedit": Entry("editbench.suites.gedit:GEdit", "GEdit-Bench: 606 requests, en or cn, CoCoEdit's masks"),
        "geditv2": Entry("editbench.suites.geditv2:GEditV2", "GEditBench v2: 1,200 requests in 23 tasks"),
        "giebench": Entry(
            "editbench.suites.giebench:GieBench", "GIE-Bench: Pexels photographs, object masks, questions"
        ),
        "hatie": Entry("editbench.suites.hatie:Hatie", "HATIE: queries about objects; convert its pickles first"),
        "hub": Entry("editbench.suites.hub:Hub", "any dataset of the Hugging Face hub: hub:OWNER/NAME,source=COLUMN"),
        "humanedit": Entry("editbench.suites.humanedit:HumanEdit", "HumanEdit: 5751 edits with masks and targets"),
        "icebench": Entry("editbench.suites.icebench:IceBench", "ICE-Bench: the tasks that edit, some with masks"),
        "imgedit": Entry("editbench.suites.imgedit:ImgEdit", "ImgEdit-Bench: 737 edits, CoCoEdit's masks, sessions"),
        "krisbench": Entry("editbench.suites.krisbench:KrisBench", "KRIS-Bench: edits that need knowledge"),
        "magicbrush": Entry("editbench.suites.magicbrush:MagicBrush", "MagicBrush: turns with masks and targets"),
        "piebench": Entry("editbench.suites.piebench:PieBench", "PIE-Bench: 700 pictures with prompts and masks"),
        "piebench_pp": Entry(
            "editbench.suites.piebench_pp:PieBenchPp", "PIE-Bench++: several edits a picture, parquet"
        ),
        "risebench": Entry("editbench.suites.risebench:RiseBench", "RISEBench: 360 edits that need reasoning"),
        "tedbench": Entry(
            "editbench.suites.tedbench:TedBench", "TEdBench: 100 photographs and what they should show, no masks"
        ),
    },
    "editor": {
        "identity": Entry("editbench.editors.controls:Identity", "control: the source, unchanged"),
        "target": Entry("editbench.editors.controls:Target", "control: the suite's ground truth"),
        "noise": Entry("editbench.editors.controls:Noise", "control: Gaussian noise on the whole image"),
        "blur": Entry("editbench.editors.controls:Blur", "control: Gaussian blur of the whole image"),
        "jpeg": Entry("editbench.editors.controls:Jpeg", "control: a JPEG round trip of the whole image"),
        "fill": Entry("editbench.editors.controls:Fill", "control: mid-grey inside the mask"),
        "shuffle": Entry("editbench.editors.controls:Shuffle", "control: the target (or source) of another scenario"),
        "paste": Entry("editbench.editors.controls:Paste", "another editor's output inside the mask, source outside"),
        "biharmonic": Entry("editbench.editors.classical:Biharmonic", "scikit-image's inpainting of the mask: removal"),
        "recolor": Entry("editbench.editors.classical:Recolor", "moves the mask toward the colour named in the prompt"),
        "harmonise": Entry("editbench.editors.classical:Harmonise", "matches the mask's colours to its surroundings"),
        "folder": Entry("editbench.editors.folder:FolderAnswers", "finished images, by id: folder:PATH or a JSONL"),
        "geditv2_gallery": Entry(
            "editbench.editors.published:Geditv2Gallery",
            "finished images of 17 models: PATH,model=NAME",
        ),
        "icebench_outputs": Entry(
            "editbench.editors.published:IcebenchOutputs", "finished images of ICE-Bench, listed in a gen_info.json"
        ),
        "table": Entry("editbench.editors.table:TableAnswers", "finished images in parquet files, by id"),
        "command": Entry("editbench.editors.command:Command", "any program: command:PROGRAM {request} {out}"),
        "http": Entry("editbench.editors.http:Http", "a service: http://HOST:PORT/PATH, see `editbench serve`"),
        "openai_images": Entry("editbench.editors.openai_images:OpenaiImages", "a model behind /v1/images/edits"),
        "diffusers": Entry("editbench.editors.diffusers:Diffusers", "any editing pipeline: diffusers:MODEL_OR_FOLDER"),
        "vae": Entry("editbench.editors.vae:Vae", "control: encoded and decoded, no edit: vae:MODEL"),
    },
    "metric": {
        "psnr": Entry("editbench.metrics.pixel:Psnr", "peak signal-to-noise ratio over a region, capped at 100 dB"),
        "mae": Entry("editbench.metrics.pixel:Mae", "mean absolute error over a region"),
        "mse": Entry("editbench.metrics.pixel:Mse", "mean squared error over a region"),
        "changed": Entry("editbench.metrics.pixel:Changed", "share of a region's pixels that moved by more than tau"),
        "delta_e": Entry("editbench.metrics.pixel:DeltaE", "mean CIEDE2000 colour difference over a region"),
        "ssim": Entry("editbench.metrics.structural:Ssim", "structural similarity from the region's own pixels only"),
        "dino_structure": Entry("editbench.metrics.dino:DinoStructure", "how the self-similarity of DINO keys changed"),
        "legacy_pie": Entry("editbench.metrics.legacy.pie:LegacyPie", "PIE-Bench's evaluation, mistakes included"),
        "legacy_brushnet": Entry("editbench.metrics.legacy.brushnet:LegacyBrushnet", "BrushNet's, mistakes included"),
        "legacy_gie": Entry("editbench.metrics.legacy.gie:LegacyGie", "GIE-Bench's, mistakes included"),
        "legacy_magicbrush": Entry("editbench.metrics.legacy.magicbrush:LegacyMagicbrush", "MagicBrush's evaluation"),
        "st_lpips": Entry("editbench.metrics.perceptual:StLpips", "shift-tolerant LPIPS; needs no download"),
        "lpips": Entry("editbench.metrics.perceptual:Lpips", "LPIPS over a region; needs torchvision's trunk"),
        "ring": Entry("editbench.metrics.perceptual:Ring", "perceptual distance just outside the mask: seams, spill"),
        "gms": Entry("editbench.metrics.gradients:Gms", "similarity of gradients over a region: structure, no weights"),
        "seam": Entry("editbench.metrics.boundary:Seam", "edge along the mask's border that the source does not have"),
        "seam_z": Entry("editbench.metrics.boundary:SeamZ", "the same, against contours inside and outside the border"),
        "band_jump": Entry("editbench.metrics.boundary:BandJump", "colour shift just outside the mask and only there"),
        "leak_profile": Entry("editbench.metrics.context:LeakProfile", "change as a curve of distance from the mask"),
        "leak_auc": Entry("editbench.metrics.context:LeakAuc", "area under that curve over log distance"),
        "far_change": Entry("editbench.metrics.context:FarChange", "mean absolute error far from the mask: drift"),
        "global_shift": Entry("editbench.metrics.shift:GlobalShift", "shift of the whole keep region, colour or place"),
        "target": Entry("editbench.metrics.target:Target", "another metric, measured against the ground truth"),
        "clip_score": Entry("editbench.metrics.clip:ClipScore", "agreement with the target prompt: 100 max(cos, 0)"),
        "clip_directional": Entry(
            "editbench.metrics.clip:ClipDirectional", "whether the image changed in the direction the prompts differ"
        ),
        "clip_image": Entry("editbench.metrics.clip:ClipImage", "likeness to the source in the embedding of a CLIP"),
        "conse_score": Entry("editbench.metrics.conse:ConseScore", "agreement with the target prompt without a CLIP"),
        "success": Entry("editbench.metrics.checks:Success", "1 if every check of the scenario passes"),
        "success_graded": Entry("editbench.metrics.checks:SuccessGraded", "how far the edit got, from the checks"),
        "composite": Entry("editbench.metrics.checks:Composite", "sqrt(success · locality): what boards are ranked by"),
        "noop": Entry("editbench.metrics.checks:Noop", "locality over the whole image where nothing was to be edited"),
        "judge": Entry("editbench.metrics.judge:Judge", "what a vision-language model says: judge:viescore,model=NAME"),
    },
}
