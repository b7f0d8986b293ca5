"""The documented name of tools/extract_tracks.py."""

from _tool import main
from extract_tracks import run

if __name__ == "__main__":
    main(run)
