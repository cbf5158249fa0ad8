"""What the words of a report mean, for whom it is passed on to; docs/glossary.md has more of them."""

ABOUT = (
    "The score of a region is −log10 of its p-value among the candidate regions of ground that was held out: "
    "2 is reached by 1 in 100 of them. Heat, which the heatmap shows and thresholds are in, says the same of single "
    "pixels among pixels, so its values are larger. "
    "Both say how unusual a place is, not what is there; that is for you to judge."
)
WORDS = {
    "heat": "−log10 of the share of background pixels that look as odd: 4 is one in 10 000",
    "calibration": "what background scores: measured on blocks of the training scenes that were held out from learning",
    "false alarm rate (far)": "regions of plain background that are reported in 100 km² (10 megapixels without a CRS)",
    "false discovery rate (fdr)": "the share of the reported regions that is background",
    "domain": "what the training scenes look like; a scene outside of it is foreign, one in between shifted",
    "effective sample": "how many independent values the held-out pixels are worth: neighbours look alike. With few, "
    "ranks hold and counts do not",
    "halo": "pixels around a tile that are read with it, so that its edge is scored like its middle",
    "surprise": "the score of models that predict a distribution: how improbable a pixel is, given its surroundings",
    "baseline": "a second model that was asked too; where both agree a region is not a whim of one",
}
