"""Every problem that zones, the registry and feeds can have, by code. Z: zones. G: the registry. F: feeds.

Wrong winding is none: RFC 7946 has outer rings go counter-clockwise, and rings of either direction are taken as meant.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of mistake: a title in both languages; what it leads to, and how to mend it."""

    title: str
    zh: str
    explanation: str


NOT_USED = "The file is not used."
LEFT_OUT = "The zone is left out, the others are used."
ENTRY_LEFT_OUT = "The entry is left out, the others are used."

ZONE_PROBLEMS: dict[str, Code] = {
    "Z001": Code("zones: not JSON", "不是 UTF-8 的 JSON", f"{NOT_USED} Zone files are JSON in UTF-8."),
    "Z002": Code(
        "zones: no FeatureCollection", "不是 FeatureCollection", f"{NOT_USED} Zones are the features of a collection."
    ),
    "Z003": Code("zones: not a feature", "不是要素", "A member of `features` is something else; it is passed over."),
    "Z004": Code(
        "zone without a usable id",
        "区域没有可用的 id",
        f"{LEFT_OUT} Rules select kind/id, so an id has no white space and no signs of a pattern.",
    ),
    "Z005": Code("zone twice", "区域重复", "Kind and id together name a zone. The first is used."),
    "Z006": Code("zone without a usable kind", "区域没有可用的 kind", f"{LEFT_OUT} No rule could select it."),
    "Z007": Code("zone is no polygon", "区域不是多边形", f"{LEFT_OUT} A zone is a Polygon or a MultiPolygon."),
    "Z008": Code("broken coordinates", "坐标格式错误", f"{LEFT_OUT} A ring is an array of four or more [lon, lat]."),
    "Z009": Code(
        "ring not closed",
        "环未闭合",
        f"{LEFT_OUT} Whether a side or a corner is missing cannot be known; repeat the first position at the end.",
    ),
    "Z010": Code("zone off the earth", "坐标超出范围", f"{LEFT_OUT} Longitudes are in ±180, latitudes in ±90 degrees."),
    "Z011": Code(
        "zone with swapped axes",
        "区域经纬度颠倒",
        f"{LEFT_OUT} GeoJSON has longitude first. Nothing is exchanged silently.",
    ),
    "Z012": Code("empty zone", "区域为空", f"{LEFT_OUT} Nothing is ever inside."),
    "Z013": Code(
        "zone crosses itself",
        "区域自相交",
        f"{LEFT_OUT} Which side is inside cannot be known; the place where it crosses is given.",
    ),
    "Z014": Code("zone without area", "区域面积为零", f"{LEFT_OUT} Its points lie on one line."),
    "Z015": Code("hole outside its zone", "洞在区域之外", f"{LEFT_OUT} It may be meant as a polygon of its own."),
    "Z016": Code("zone property of a wrong type", "区域属性类型错误", f"{LEFT_OUT} Area, grade and name are texts."),
    "Z017": Code(
        "zone in an unknown area", "区域所属片区不存在", "The zone is used. Areas are the zones of the kind `area`."
    ),
    "Z018": Code(
        "zones in another system",
        "区域文件声明了其他坐标系",
        f"{NOT_USED} Zones are in WGS-84; whatever else the file names would put every zone somewhere else.",
    ),
    "Z019": Code(
        "unknown kind of zone",
        "未知的区域 kind",
        "The zone is used, but no rule names its kind. A warning where it looks like one that is known, else advice.",
    ),
    "Z020": Code(
        "zone far from the others",
        "区域远离其他区域",
        "The zone is used, and the city's bounds reach out to it: positions in between are no longer found wrong.",
    ),
    "Z021": Code(
        "zones look shifted",
        "区域疑似为 GCJ-02 或 BD-09 坐标",
        "Moved by the shift of GCJ-02 or BD-09 the file's zones lie on the known segments, as they are they "
        "do not. They may have been drawn on a Chinese web map.",
    ),
    "Z022": Code(
        "sliver",
        "区域过窄",
        "A part of the zone is so narrow that positions with their usual error are hardly ever inside. Often "
        "what is left where two outlines were meant to meet.",
    ),
    "Z023": Code(
        "zones in a heap",
        "区域重叠过多",
        "At most 128 zones may lie over one point: what stands there is held against each of them. The first place is "
        "told.",
    ),
}

REGISTRY_PROBLEMS: dict[str, Code] = {
    "G001": Code("registry: not JSON", "登记表不是 UTF-8 的 JSON", f"{NOT_USED} It is JSON in UTF-8 and can be read."),
    "G002": Code(
        "registry: no FeatureCollection",
        "登记表不是 FeatureCollection",
        f"{NOT_USED} Entries are the features of a collection.",
    ),
    "G003": Code(
        "registry: not a feature", "登记项不是要素", "A member of `features` is something else; it is passed over."
    ),
    "G004": Code("entry without a usable id", "登记项没有可用的 id", f"{ENTRY_LEFT_OUT} Records name it by its id."),
    "G005": Code(
        "file of another name",
        "登记文件名不对",
        f"{NOT_USED} The registry is devices.geojson, segments.geojson, units.geojson.",
    ),
    "G006": Code("entry twice", "登记项重复", "Within a file an id names one entry. The first is used."),
    "G007": Code(
        "wrong geometry", "几何类型不对", f"{ENTRY_LEFT_OUT} Devices and units are points, segments are lines."
    ),
    "G008": Code(
        "entry off the earth or with swapped axes",
        "坐标超出范围或经纬度颠倒",
        f"{ENTRY_LEFT_OUT} GeoJSON has longitude first. Nothing is exchanged silently.",
    ),
    "G009": Code("property missing", "缺少属性", ENTRY_LEFT_OUT),
    "G010": Code("property of a wrong type", "属性类型错误", ENTRY_LEFT_OUT),
    "G011": Code("downstream leads nowhere", "下游路段不存在", "The segment is used without that neighbour."),
    "G012": Code("unknown area", "片区不存在", "Its records would go to the partition of an area that is none."),
    "G013": Code(
        "entry outside its area",
        "登记项在其片区之外",
        "It is used. Either its place or its area is wrong, or the area's border was drawn roughly.",
    ),
    "G014": Code(
        "unit without a department", "处置队伍没有部门", f"{ENTRY_LEFT_OUT} Nothing could be dispatched to it."
    ),
    "G015": Code("registry in another system", "登记表声明了其他坐标系", f"{NOT_USED} The registry is in WGS-84."),
    "G016": Code(
        "entry far from everything",
        "登记项远离其他登记项",
        "It is used. Something is typed wrongly, or it is in another city.",
    ),
}

FEED_PROBLEMS: dict[str, Code] = {
    "F001": Code(
        "feed in another system",
        "数据源实际坐标系与声明不符",
        "Its positions lie where they should only when read as another system than the records declare: some "
        "490 metres off between WGS-84 and GCJ-02, more with BD-09.",
    ),
    "F002": Code(
        "feed with swapped axes",
        "数据源经纬度颠倒",
        "Its records carry latitude as `lon` and longitude as `lat`. They are dead-lettered, never mended.",
    ),
    "F003": Code(
        "feed beside its place",
        "数据源偏离登记位置",
        "Its positions are steady and far from where the source is registered, and no system of coordinates "
        "explains it: the device or the registry is wrong.",
    ),
}
