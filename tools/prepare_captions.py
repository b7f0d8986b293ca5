"""Bring the captions of CUHK-PEDES into captions_parsed.json and imgs_id.json, by picture name."""

import argparse

from _tool import main


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--input", required=True, metavar="FILE", help="caption_all.json, or reid_raw.json")
    add("--output", default="", metavar="DIR", help="default: the folder of the input")
    add("--images", default="", metavar="DIR", help="tell how many of Market-1501's have captions")
    add("--replace", action="store_true", help="replace files that are there")
    options = vars(parser.parse_args())
    import reidtools as rt  # torch takes seconds to load

    print(rt.prepare_captions(options.pop("input"), **options))


if __name__ == "__main__":
    main(run)
