"""The rules of evaluation that more than one room must agree on."""

from reidtools.registry import choose

CAMERA_FILTERS = {"market": True, "none": False}


def ignores_own_camera(camera_filter: str) -> bool:
    """Whether pictures of the query's person in the query's own camera are left out.

    ``market`` leaves them out (Zheng et al., Market-1501, ICCV 2015), ``none`` keeps them. Another
    name is a `LookupError`.
    """
    return choose("camera filter", camera_filter, CAMERA_FILTERS)
