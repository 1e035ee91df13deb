"""What is to be said of the claims on runs that did not come out as printed: two sentences each, and why, if known.

They stand under the ledger's tables; the numbers stand in the rows, which records make. A test holds that every such
claim of this project's records has one, and no other claim.
"""

from __future__ import annotations

from .row import OUTCOMES, REPRODUCED, Row

_FEW_ROWS = (
    "With 400 training rows differences of less than two or three points cannot be told from the spread of seeds."
)
_FLOOR = (
    "Both are near the majority class, so that the comparison says nothing about the claim. The checkpoints have read "
    "novels for an hour or so of one core."
)
_BESIDE_BERT = (
    "The difference is one of checkpoints, not of architectures: MiniLM was distilled from a large model and trained "
    "on a billion pairs of sentences, MPOBERT's source has read novels for an hour of one core. On rows that choose, "
    "twice the epochs gain two points for either, three times the learning rate loses some for MPOBERT, and the gap "
    "stays."
)
_ABLATION = (
    "All five variants lie at the majority class or a few points above it, no further apart than their seeds. What an "
    "hour's checkpoint has not learnt cannot be lost by leaving a part out."
)

FINDINGS: dict[str, str] = {
    "mpop-eq6-same-effect": "The mean difference is small, but its interval is wider than the one point that would "
    f"count as alike. {_FEW_ROWS}",
    "mpop-tab3-lfa": "The printed gain is a tenth of a point, for which an interval as narrow would take thousands of "
    "pairs. Here there are twelve, and three of them are of RTE, where every way is near the majority class.",
    "mpop-tab3-lfa-dense": "The dense model is ahead, at the very edge of the interval. In 39 updates frozen centres "
    "may cost something, as auxiliary tensors alone reach only a part of any change of a matrix.",
    "mpop-tab3-full-dense": "MPOs at full bonds can become everything that the dense matrices can, so that only the "
    "optimizer's path could make a difference. After 39 updates the dense model is ahead, within the interval.",
    "mpop-tab3-squeezed-dense": "Bonds are halved here, where the paper takes one value at a time, and two updates "
    "after each cut do not win back what that costs: at the dense model's own size, before anything is saved, it is "
    "lost already, above all on STS-B. All cuts at once with all updates after them lose as much.",
    "mpop-tab3-squeezing": "Squeezing is far ahead on STS-B and behind on SST-2 and MRPC, so that four tasks together "
    "show nothing. With two updates after each cut it has little of the tuning that is its point.",
    "mpop-tab4-rte": "Both models answer RTE no better than its majority class. The checkpoint, an hour's ALBERT, "
    "knows nothing yet that could be lost or kept.",
    "mpop-tab5-last-1": "Each way has a learning rate of its own here, chosen with equally many tries, and the "
    f"print's gap of nine points is not there. {_FEW_ROWS}",
    "mpop-tab5-last-2": "Two layers with a learning rate of their own do as well as all auxiliary tensors. "
    f"{_FEW_ROWS}",
    "mpop-tab5-last-3": "Three layers with a learning rate of their own, half of MiniLM's six, do as well as all "
    f"auxiliary tensors. {_FEW_ROWS}",
    "mpop-fig2-cpd": "CPD has the smaller error at every ratio, on other matrices and with five legs as well. Only a "
    "CPD that is stopped after its first step of alternating least squares is behind, so the print may show one that "
    "had not converged.",
    "mpobert-tab1-albert": "Both are near the majority class of the dev set's whole sentences, so that the comparison "
    "says nothing about the claim. On rows held out of the training phrases both reach some 70 %.",
    "mpobert-tab1-bert": _BESIDE_BERT,
    "mpobert-tab2-albert": _FLOOR,
    "mpobert-tab2-bert": _BESIDE_BERT,
    "mpobert-tab3-bert": _BESIDE_BERT,
    "mpobert-tab3-albert": _FLOOR,
    "mpobert-tab4-adapter": _ABLATION,
    "mpobert-tab4-sharing": _ABLATION,
    "mpobert-tab4-crucial": _ABLATION,
    "mpobert-tab5-rank-4": _ABLATION,
    "mpobert-tab5-rank-64": _ABLATION,
    "mpobert-fig3-continued": "Both start from the same function and lose the same, to a hundredth of a nat. In as few "
    "updates layers of their own have not yet made a difference to ALBERT's one.",
    "mpobert-fig4-albert": "Meaning is read a little higher than syntax in ALBERT too, and three draws of rows leave "
    "open whether by more than a layer. The print says that its trend is less clear than BERT's, which it is here: the "
    "interval of BERT's leaves out zero.",
    "mpobert-fig4-mpobert": "The 24 layers made from ALBERT have less of the trend than ALBERT itself, if there is a "
    "difference at all. They have been trained apart for 640 updates, which may be too few to sort themselves.",
    "mpoe-tab1-t5": "All three T5s are well above the majority class, and no further apart than their seeds. The "
    "printed gain of two thirds of a point is a tenth of what three seeds can show here.",
    "mpoe-tab1-t5-dense": "Experts and the dense model are no further apart than their seeds. The printed gain of two "
    "and a half points is less than what three seeds can show here.",
    "mpoe-tab1-gpt2-dense": "With four times the updates and without the mask the gap shrinks from more than a point "
    "to a fifth of one, and stays. After the first 100 updates a dense model with as many parameters, wider in place "
    "of experts, is ahead of both.",
    "mpoe-tab1-more-experts": "The printed gain is four hundredths of a point of BLEU. Three seeds of a hundred texts "
    "cannot show one of less than a point.",
    "mpoe-tab2-dense": "One of MPOE's three seeds ends up writing no answer at all, which makes the interval useless. "
    "The other two are level with the dense model.",
    "mpoe-tab3-sharing": "Eight experts that begin as copies of one block have hardly parted after 100 updates, with "
    "one centre or with eight. Sharing costs nothing that could be seen, which is the claim's weaker half.",
    "mpoe-tab3-mask": "The perplexity rises with the mask's probability, from none to always: a centre that is held "
    "back learns less in 100 updates. Over-fitting, which the mask is meant against, cannot set in within a part of "
    "one pass over the text.",
    "mpoe-tab3-important": "Neither effect can be told from zero here. So their order cannot either.",
    "mpoe-tab4-m3": "Five tensors are ahead of three with every seed, by a third of a point of perplexity. The print's "
    "gap is ten times as large.",
    "mpoe-tab4-more": "Seven and nine tensors are a hundredth of a nat behind five. That is the very margin within "
    "which they would have counted as alike.",
}
"""Id of a claim -> the finding."""


def finding_on(row: Row) -> str:
    """ "" where nothing was run, and where other records than this project's make the claim come out after all."""
    came_out = row.verdict == REPRODUCED or row.verdict.endswith(OUTCOMES[0])
    return FINDINGS.get(row.id, "") if row.on_runs and not came_out else ""
