"""Everything the tabs say that isn't a parameter's label, in English and in Chinese.

``STATIC`` are fixed words of the page: the page is built in English and ``javascript/easyphoto.js`` exchanges them.
``SAYINGS`` are made on the server with numbers and names in them, in the language of the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from easyphoto.catalog import Catalog
from easyphoto.config import PortraitConfig, TrainConfig, declared
from easyphoto.messages import translated

STATIC: Mapping[str, str] = MappingProxyType(
    {
        "Train": "训练",
        "Inference": "生成写真",
        "Train Human Lora": "训练人物 LoRA",
        "Train Scene Lora": "训练场景 LoRA",
        "Training photos": "训练照片",
        "5 to 20 photos of one person: head and shoulders or half length, several angles and lights, most of them "
        "without glasses.": "同一个人的 5–20 张头肩照或半身照，包含不同角度和光照，最好大部分不戴眼镜。",
        "Upload photos": "上传照片",
        "Clear photos": "清除照片",
        "User id": "用户 ID",
        "The name of the person, in any script.": "人物的名字，可使用任何文字。",
        "e.g. Ada": "例如：小美",
        "Advanced options": "高级选项",
        "Scene options": "场景选项",
        "Start training": "开始训练",
        "Resume": "继续训练",
        "Cancel": "取消",
        "Progress": "进度",
        "Validation pictures": "验证图片",
        "Upload photos to see here what each of them is worth for the training.": (
            "上传照片后，这里会显示每张照片是否适合训练。"
        ),
        "Nothing is being trained.": "当前没有训练任务。",
        "No portraits yet.": "还没有生成写真。",
        "People": "人物",
        "Number of faces": "人脸数量",
        "One user id for each face of the template, from left to right.": "模板中每张人脸对应一个用户 ID，从左到右。",
        "none leaves a face as it is.": "选择 none 则跳过该人脸。",
        **{f"User id, face {i}": f"用户 ID（第 {i} 张脸）" for i in range(1, 11)},
        "Refresh": "刷新",
        "Preset templates": "预设模板",
        "Upload a template": "上传模板",
        "Many templates": "批量模板",
        "Text to portrait": "文生写真",
        "Click a template to choose it.": "点击模板即可选择。",
        "Presets": "预设",
        "Chosen presets": "已选模板",
        "Add your own": "添加自己的模板",
        "Delete chosen of your own": "删除所选的自有模板",
        "Template": "模板",
        "Upload pictures": "上传图片",
        "Upload a folder": "上传文件夹",
        "Templates": "模板",
        "Clear templates": "清除模板",
        "Picture with the pose": "姿态参考图",
        "Generate": "生成",
        "Portraits": "写真",
        "Options": "选项",
        "Strength of the person": "人物强度",
        "Diffusion": "扩散",
        "Face": "人脸",
        "Background and finish": "背景与后处理",
        "Parameters of the selected portrait": "所选写真的参数",
        "Select a portrait to see how it was made.": "选择一张写真即可查看其参数。",
        "none": "none",
        "Weights": "权重",
        "Feature": "功能",
        "EasyPhoto works without any of these; each makes it better at something.": (
            "没有这些权重 EasyPhoto 也能使用；每一项都会让某个功能更好。"
        ),
        "Download": "下载",
        "Look again": "重新检查",
        "Nothing is being downloaded.": "当前没有下载任务。",
        "Delete a person": "删除人物",
        "Person or scene": "人物或场景",
        "Their portraits too": "同时删除其写真",
        "Every portrait that shows them, alone or with others": "所有包含该人物的写真，包括与他人合影的",
        "Delete": "删除",
        "Yes, delete": "确定删除",
    }
)

_EN, _ZH = 0, 1

SAYINGS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "queued": ("Waiting: {n} before this one.", "排队中：前面还有 {n} 个任务。"),
        "running": ("Running", "进行中"),
        "train": ("Training {subject}", "正在训练 {subject}"),
        "generate": ("Portraits of {subject}", "正在生成 {subject} 的写真"),
        "cancelling": ("Stopping ...", "正在停止……"),
        "cancelled": ("Cancelled.", "已取消。"),
        "failed": ("This did not work: {message}", "出错了：{message}"),
        "trained": ("{subject} is trained.", "{subject} 训练完成。"),
        "trained_likeness": ("{subject} is trained. Likeness {likeness}.", "{subject} 训练完成，相似度 {likeness}。"),
        "untrained": (
            "The training of {subject} ended, but the likeness did not rise: look at the photos, and train again.",
            "{subject} 的训练已结束，但相似度没有上升：请检查照片后重新训练。",
        ),
        "generated": ("Portraits made: {n}. Seed {seed}.", "生成了 {n} 张写真，随机种子 {seed}。"),
        "some_failed": ("Templates that could not be done: {n}.", "{n} 个模板未能完成。"),
        "others": ("Others asked for this meanwhile: {jobs}", "其他任务：{jobs}"),
        "other running": ("{subject} (running)", "{subject}（进行中）"),
        "other queued": ("{subject} (waiting)", "{subject}（排队中）"),
        "stopped half-way": ("{name} (stopped half-way)", "{name}（训练中途停止）"),
        "likeness did not rise": ("{name} (the likeness did not rise)", "{name}（相似度没有上升）"),
        "damaged": ("{name} (damaged)", "{name}（文件损坏）"),
        "delete nobody": ("Choose whom to delete.", "请选择要删除的人物。"),
        "delete sure": (
            "Delete {name}? Photos, LoRA, uploads and everything of their trainings go, and nothing brings them back.",
            "确定删除 {name} 吗？照片、LoRA、上传文件和所有训练数据都会被删除，且无法恢复。",
        ),
        "delete portraits": ("The portraits that show them go too: {n}.", "包含该人物的 {n} 张写真也会被删除。"),
        "keep portraits": (
            "The portraits that show them stay unless you tick the box: {n}.",
            "包含该人物的 {n} 张写真会保留，如需一并删除请勾选。",
        ),
        "person deleted": ("{name} was deleted: {n} files, {size}.", "已删除 {name}：{n} 个文件，{size}。"),
        "portraits left": ("Portraits that show them and were kept: {n}.", "包含该人物的 {n} 张写真仍保留。"),
        "can go on": (
            "{name} can go on where the training stopped, with its options: press Resume.",
            "{name} 的训练可按原有选项从中断处继续：点击“继续训练”。",
        ),
        "nobody": (
            "Nobody is trained yet. Portraits need a person: train one first.",
            "还没有训练过任何人物。生成写真前请先训练一个人物。",
        ),
        "to training": ("Go to Train", "前往训练"),
        "nothing": ("No portrait was made.", "没有生成写真。"),
        "template_failed": ("Template {n}: {message}", "模板 {n}：{message}"),
        "step": ("{stage}: {step} of {total}", "{stage}：{step} / {total}"),
        "left_s": ("{n} s left", "约剩 {n} 秒"),
        "left_min": ("about {n} min left", "约剩 {n} 分钟"),
        "likeness": ("Likeness", "相似度"),
        "loss": ("Loss", "损失"),
        "steps": ("Step", "步数"),
        "validated": ("Step {step}: likeness {likeness}", "第 {step} 步：相似度 {likeness}"),
        "fused": ("Fused from the checkpoints of steps {steps}.", "由第 {steps} 步的权重融合而成。"),
        "photos": ("{taken} of {n} photos will be taken.", "{n} 张照片中将使用 {taken} 张。"),
        "photos_uploaded": ("{n} photos. They are being looked at ...", "{n} 张照片，正在检查……"),
        "photos_unchecked": ("The photos could not be checked: {message}", "无法检查照片：{message}"),
        "likeness_of": ("likeness {likeness}", "相似度 {likeness}"),
        "added": ("{name} was added.", "已添加 {name}。"),
        "deleted": ("{n} of your templates were deleted.", "已删除 {n} 个自有模板。"),
        "own_only": (
            "Only templates that you added can be deleted; choose one of them.",
            "只能删除自己添加的模板，请先选择。",
        ),
        "unavailable": (
            "EasyPhoto can't work yet: {message}",
            "EasyPhoto 暂时无法使用：{message}",
        ),
        "broken_models": ("These base models can't be used:", "以下基础模型无法使用："),
        "unexpected": ("An unexpected error stopped this: {message}", "发生意外错误：{message}"),
        "models": ("Downloading: {subject}", "正在下载：{subject}"),
        "fetched": ("{n} files came, {size}.", "已下载 {n} 个文件，共 {size}。"),
        "fetched_none": ("Everything was there already.", "所需文件都已存在。"),
        "complete": ("Everything is there: {n} files.", "文件齐全：共 {n} 个。"),
        "to_fetch": (
            "{n} files to download, {size}; {there} are there.",
            "需要下载 {n} 个文件，共 {size}；已有 {there} 个。",
        ),
        "to_fetch_all": ("{n} files to download, {size}.", "需要下载 {n} 个文件，共 {size}。"),
        "about": ("about ", "约 "),
        "offline": (
            "The network is switched off (EASYPHOTO_OFFLINE or HF_HUB_OFFLINE): put the files there yourself.",
            "已禁用网络（EASYPHOTO_OFFLINE 或 HF_HUB_OFFLINE），请自行放入这些文件。",
        ),
        "non_commercial": (
            "Some of these may not be used commercially.",
            "其中部分文件不可用于商业用途。",
        ),
        "some_left_out": (
            "What may not be used commercially is left out; where there is one, another file takes its place.",
            "不可商用的文件已排除；如有替代文件则使用替代文件。",
        ),
        "found_as": ("found as {file}", "以 {file} 找到"),
        "optional": ("works without it", "可选"),
        "column file": ("File", "文件"),
        "column size": ("Size", "大小"),
        "column licence": ("Licence", "许可"),
        "state there": ("there", "已有"),
        "state missing": ("missing", "缺少"),
        "state unusable": ("unusable", "不可用"),
        "state left out": ("left out", "已排除"),
        "commercial on": ("Commercial use only: on", "仅限可商用：已开启"),
        "commercial on why": (
            "Weights whose licence forbids commercial use are kept off.",
            "不可商用的权重不会被使用。",
        ),
        "commercial off": ("Commercial use only: off", "仅限可商用：已关闭"),
        "commercial off why": (
            "Weights that may not be used commercially serve too, where they are there.",
            "已有的非商用权重也会被使用。",
        ),
        "precision": ("Precision of trainings left at auto: {precision}", "训练精度（选择 auto 时）：{precision}"),
        "change in webui": ("Change both under Settings > EasyPhoto.", "可在“设置 > EasyPhoto”中修改。"),
        "change in app": (
            "Change both when starting: serve --commercial-only --precision bf16.",
            "启动时修改：serve --commercial-only --precision bf16。",
        ),
        "instead_of": ("left out: {names}", "已排除：{names}"),
        "role detector": ("Finding faces", "人脸检测"),
        "role landmarks": ("Points of the face", "人脸关键点"),
        "role embedder": ("Likeness", "相似度"),
        "role parser": ("Parts of the face", "人脸解析"),
        "role saliency": ("Person before background", "人像抠图"),
        "role retoucher": ("Skin retouching", "皮肤美化"),
        "role fuser": ("Face fusion", "人脸融合"),
        "role enhancer": ("Enhancing", "画质增强"),
        "templates_uploaded": ("{n} templates.", "{n} 个模板。"),
        # verdicts of the photo report
        "taken": ("taken", "采用"),
        "several faces": ("taken, several faces", "采用（多张人脸）"),
        "no face": ("no face", "没有人脸"),
        "someone else": ("someone else", "不是同一人"),
        "too small": ("too small", "人脸太小"),
        "too dark": ("too dark", "太暗"),
        "blurred": ("blurred", "模糊"),
        "duplicate": ("duplicate", "重复"),
        "extreme pose": ("extreme pose", "角度过大"),
        "unreadable": ("unreadable", "无法读取"),
        # stages
        "stage photos": ("Looking at the photos", "检查照片"),
        "stage crops": ("Preparing the photos", "处理照片"),
        "stage latents": ("Encoding the photos", "编码照片"),
        "stage train": ("Training", "训练"),
        "stage validate": ("Validating", "验证"),
        "stage fuse": ("Fusing the LoRA", "融合 LoRA"),
        "stage download": ("Downloading", "下载"),
        "stage environment": ("Setting up the environment", "准备运行环境"),
        "stage template": ("Reading the template", "读取模板"),
        "stage fusion": ("Fusing the face", "融合人脸"),
        "stage first": ("First pass", "第一次扩散"),
        "stage second": ("Second pass", "第二次扩散"),
        "stage background": ("Background", "背景"),
        "stage finish": ("Finishing", "后处理"),
        "stage text": ("Picture from text", "文生图"),
    }
)


def dictionary() -> dict[str, str]:
    """English to Chinese for all fixed words of the page."""
    found = {**STATIC, **{b.what: translated(b.what, "zh") for b in Catalog.load().bundles.values()}}
    for config in (TrainConfig, PortraitConfig):
        for d in declared(config):
            found[d.param.label] = d.param.label_zh
            if d.param.help and d.param.help_zh:
                found[d.param.help] = d.param.help_zh
    return found


def say(key: str, language: str, **values: object) -> str:
    """A sentence of ``SAYINGS`` in ``language`` (``"zh"`` or anything else for English)."""
    return SAYINGS[key][_ZH if language == "zh" else _EN].format(**values)


def stage(name: str, language: str) -> str:
    """What a stage of a job is called; one that isn't known by its own name."""
    key = f"stage {name}"
    return say(key, language) if key in SAYINGS else name.replace("_", " ").capitalize()


def time_left(seconds: float, language: str) -> str:
    if seconds < 90:
        return say("left_s", language, n=round(seconds))
    return say("left_min", language, n=round(seconds / 60))
