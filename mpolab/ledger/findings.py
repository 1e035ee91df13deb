"""What is to be said of claims on runs beside their numbers: two sentences each, and why, if known.

They stand under the ledger's tables; the numbers stand in the rows, which records make. A test holds that every such
claim of this project's records has one. What came out has one where the row alone would say more than was found.
"""

from __future__ import annotations

from .row import OUTCOMES, REPRODUCED, Row

_FEW_ROWS = (
    "On rows of SST-2 that choose, 1,000 training rows or eight epochs gain at most a point and a half for every way "
    "(all tensors, centres or auxiliary tensors frozen, dense, two and three layers) but the last layer alone, and "
    "five seeds, with that run among them, cannot show differences of less than four to five points."
)
_CHECKPOINTS = (
    "The checkpoints differ too much for a comparison of architectures: MiniLM was distilled from a large model and "
    "trained on a billion pairs of sentences, MPOBERT's source has read novels for an hour of one core."
)
_ABLATION = (
    "With a thousand rows the variants are near the majority class of SST-2, at that of MRPC (66 to 70 %, where it "
    "has 68) and at chance on RTE (47 to 51 %); with four thousand of SST-2, twice, the means of all five are some "
    "fifteen points above the majority class and within two points of each other, those of ranks 4, 8 and 64 within "
    "half a point. They start from one checkpoint whose layers are all alike, and five hundred updates may be too "
    "few for sharing or adapters to matter."
)

FINDINGS: dict[str, str] = {
    "mpop-eq6-same-effect": "With the centres frozen scores are two points below those with the auxiliary tensors "
    "frozen, whose best rate is the lowest of the three that were tried; 1.3 of the two are one run of SST-2 (51.0 "
    "%), of which the first epoch was kept, as all three tied on the rows that choose. "
    f"{_FEW_ROWS}",
    "mpop-tab3-lfa": "The printed gain is a tenth of a point, for which an interval as narrow would take thousands "
    "of seeds. Here there are five, with one run of SST-2 (51.0 %), of which the first epoch was kept, as all three "
    "tied on the rows that choose, and two of the four tasks are RTE and MRPC, where both ways are near the "
    "majority class.",
    "mpop-tab3-lfa-dense": "The dense model is 3.5 points ahead by scores, with an interval that includes zero, 1.4 "
    "of them by one run of SST-2 (51.0 %), of which the first epoch was kept, as all three tied on the rows that "
    "choose, and by the loss on the rows of three tasks no difference is shown. With all tensors trained it is 1.7 "
    "ahead, so that half of the gap is there without freezing anything; with 1,000 rows of SST-2 for both no "
    "difference is shown.",
    "mpop-tab3-full-dense": "MPOs at full bonds can become everything that the dense matrices can, so that only the "
    "optimizer's path can make a difference: after 39 updates, each at its own learning rate, the dense model is "
    "1.7 points ahead by scores and behind by the loss on the rows of three tasks, and neither 1,000 rows nor eight "
    "epochs gain either of them more than a point and a half on rows that choose. The first three seeds gave -1.6 "
    "with an interval from -5.0 to +1.9, no difference, and two seeds more, which all of these comparisons were "
    "given after that look, decide it; with 1,000 rows of SST-2 for both no difference is shown.",
    "mpop-tab3-squeezed-dense": "At the dense model's own size, before anything is saved, halved bonds have lost "
    "already, above all on STS-B, and all cuts at once lose as much. Cuts of a quarter win back 4.8 points on SST-2 "
    "and seven on STS-B by the three seeds that both have, and leave squeezing 6.3 and 37 behind there by five; the "
    "paper takes one value at a time.",
    "mpop-tab4-rte": "Dense or squeezed, of MiniLM or of albert-mini, no run is more than three rows of 277 above "
    "the most frequent answer, and 2,000 training rows in place of 400, even in six epochs, leave albert-mini there "
    "on rows that choose. By smaller cuts MiniLM is eleven rows above it with one seed and fourteen below with "
    "another, where eight are a standard deviation of chance: nothing is there yet that squeezing could lose or "
    "keep.",
    "mpop-tab5-last-1": "The print's gap of nine points is not there: the last layer alone is 1.6 points ahead on "
    "three tasks, and 0.3 behind without one run of SST-2 (51.0 %), of which the first epoch was kept, as all three "
    "tied on the rows that choose; with 1,000 rows of SST-2 for both no difference is shown. With those one layer "
    "alone gains 4.2 points on rows that choose and 3.4 on the reported ones, and the auxiliary tensors 1.4 and "
    "9.8, six of them by that run.",
    "mpop-tab5-last-2": "Two layers with a learning rate of their own are 2.7 points ahead of all auxiliary tensors "
    "by scores, two of them by one run of SST-2 (51.0 %), of which the first epoch was kept, as all three tied on "
    "the rows that choose, and by the loss no difference is shown. "
    f"{_FEW_ROWS}",
    "mpop-tab5-last-3": "Three layers, half of MiniLM's six, at the rate chosen for two, are 2.9 points ahead of "
    "all auxiliary tensors by scores, 1.9 of them by one run of SST-2 (51.0 %), of which the first epoch was kept, "
    "as all three tied on the rows that choose, and by the loss no difference is shown. "
    f"{_FEW_ROWS}",
    "mpop-fig2-cpd": "CPD has the smaller error at every ratio, on other matrices and with five legs as well. Of "
    "one and of twenty steps of alternating least squares only the one leaves CPD behind, so that the print may "
    "show one that had not converged.",
    "mpop-fig2-plans": "Of query matrices at ratio 0.5 six of the seven plans lie 5 to 7 % apart, and the one whose "
    "row factors rise while its column factors fall is 4 to 11 % above the worst of them; at ratios 0.3 and 0.7 it is "
    "much the same. Of the FFN's widening matrices all seven lie 6 to 7 % apart at ratio 0.5, three tensors being the "
    "worst, 5 % at 0.3, and 4 % at 0.7, where they count as alike: the choice is worth some per cent of the error, "
    "and no order is worst everywhere.",
    "mpop-alg2-growth": "An error made in one layer shrinks, by 4 % a layer in MiniLM, where only the last layer adds "
    "to it, and by 8 % in albert-mini, of MPOP's kind and twice as deep, where only the second does. What grows with "
    "depth is the sum of the errors of all layers that are cut, which is a row of its own.",
    "mpop-alg2-exponential": "In albert-mini the factor falls from step to step, 1.29 a layer in the first half and "
    "1.03 in the last; in MiniLM it is uneven, 1.25 and 1.15, with a fall in the fifth layer and the largest growth in "
    "the sixth. Over all layers it is 14 and 18 %, where twelve and six independent errors of equal size, added up, "
    "would grow by 12 and 20 %; those of albert-mini are of one shared layer and not independent.",
    "mpobert-tab1-albert": "With a thousand rows both are near the majority class on SST-2 and MRPC, at chance on "
    "RTE, within seven points of nothing on CoLA, at correlations below 19 on STS-B, and their F1 on SQuAD is 7 to "
    "12; with four thousand rows of SST-2, twice, both are fifteen points above the majority class, and no further "
    "apart than their seeds. MPOBERT's layers have been trained apart for 640 updates, which may be too few for a "
    "difference.",
    "mpobert-tab1-bert": "With four thousand rows of SST-2, twice, MPOBERT gains more than MiniLM does, and stays "
    "far behind, as with a thousand rows of SQuAD (F1 of 7 to 9 where MiniLM has 41 to 51) and of STS-B (9 to 14 "
    "where it has 81 to 82). MiniLM was distilled from a large model and trained on a billion pairs of sentences, "
    "MPOBERT's source has read novels for an hour of one core, so that the difference is first of all one of "
    "checkpoints.",
    "mpobert-fig4-lower": "Both read it in the lower half, MPOBERT at 0.32 to 0.42 of the depth and ALBERT at 0.28 "
    "to 0.44, and three seeds leave a third of the depth open either way; with 400 rows for the probes to learn from "
    "ALBERT is lower by 0.09. Every layer of both finds nine of ten or more, in sentences of this project's own "
    "grammar in which a few words give the answer away, so that depths of it say little.",
    "mpobert-tab2-albert": "On all four tasks both stay near the most frequent answer, with correlations on STS-B "
    "below 0.14, so that the comparison says nothing about the claim. On rows that choose, ALBERT gains five points by "
    "three times the learning rate and MPOBERT nothing, and on the reported rows the gain is gone.",
    "mpobert-tab2-bert": f"{_CHECKPOINTS} On rows that choose, neither three times the learning rate nor eight epochs "
    "gain anything for either.",
    "mpobert-tab3-bert": f"{_CHECKPOINTS} On MNLI all three models stay at a third (34 to 36 %), so that nearly all "
    "of the distance is that of SST-2, where, with thirty rows of each class and on rows that choose, neither a third "
    "of the learning rate nor forty epochs gain a point and a half for either, and MPOBERT stays at 49 to 54 % where "
    "MiniLM has 63 to 67.",
    "mpobert-tab3-albert": "With any of three settings, tried on rows of SST-2 that choose, both are at the majority "
    "class, and on MNLI both are at a third (34 to 35 %), so that the comparison says nothing about the claim. The "
    "checkpoints have read novels for an hour or so of one core.",
    "mpobert-tab4-adapter": _ABLATION,
    "mpobert-tab4-sharing": _ABLATION,
    "mpobert-tab4-crucial": _ABLATION,
    "mpobert-tab5-rank-4": _ABLATION,
    "mpobert-tab5-rank-64": _ABLATION,
    "mpobert-fig3-continued": "Both start from the same function and end at the same loss, to a hundredth of a nat "
    "after 60 updates and after 240, and no lower than where they started. In so few updates layers of their own "
    "have not yet made a difference to ALBERT's one.",
    "mpobert-fig4-mpobert": "With 1,000 rows for the probes MPOBERT had less of the trend than ALBERT in all three "
    "draws, with 2,000 it has more in all three, and neither interval leaves out zero. Its layers have been trained "
    "apart for 640 updates, which may be too few to sort themselves.",
    "mpoe-fig2-apart": "Auxiliary tensors have 15 % of all directions, and what experts learn lies in theirs to 15 "
    "%, half a point more than a change at random; after four times the updates it is no more, nor at three times "
    "the learning rate, by which they go more than twice as far. Experts start as copies, and their matrices are 12 "
    "% of their size apart after 100 updates and 21 % after 400.",
    "mpoe-tab1-t5": "With 4,000 rows and three times the updates both are at 72 to 77 % on SST-2 and no further "
    "apart than their seeds, and MPOE is ahead on STS-B with every seed, by two to eleven points of correlations "
    "below 19. The printed gain of two thirds of a point is a twelfth of what three seeds of them can show.",
    "mpoe-tab1-t5-moe": "With 4,000 rows and three times the updates MoE is ahead on SST-2 with two seeds of three, "
    "by 1.7 points on average, and MPOE on STS-B with two, by 2.9 of correlations below 19. The printed gain of two "
    "points is a quarter of what three seeds of them can show.",
    "mpoe-tab1-t5-moefication": "With 4,000 rows and three times the updates MoEfication is ahead on SST-2 with two "
    "seeds of three, by 2.3 points on average, and MPOE on STS-B with every seed, by 4.6 of correlations below 19, "
    "so that the two together leave it open. The printed gain of three points, which is a large T5's, is nine tenths "
    "of what three seeds of them can show.",
    "mpoe-tab1-t5-dense": "With 4,000 rows and three times the updates the dense model is ahead on SST-2 with every "
    "seed, by two points on average, and MPOE on STS-B with every seed, by one to nine points of correlations below "
    "20, so that the two together leave it open. The printed gain of two and a half points is less than half of what "
    "three seeds can show.",
    "mpoe-tab1-reviews": "After four times the updates MPOE is ahead of the mean of the two with every seed, by 0.6 "
    "to 1.4 points, and the interval just includes zero; MoE writes with 27.5, Switch with 26.4 and MPOE with 27.9. "
    "Separate experts behind MPOE's router write with 28.3, so that what there is of a gain is the router's again, "
    "as on news.",
    "mpoe-eq4-frequent": "Without the mask and with eight experts of GPT-2, 3, none and 23 of 3,200 updates of "
    "single experts fall out for want of a token, so that the centre is hardly updated more often. With sixteen it "
    "is 1.6 in a hundred, and 5 of T5's, which reads short sentences, but in these runs the mask leaves out a "
    "quarter of the centre's own updates, so that the auxiliary tensors are the ones that are updated more often.",
    "mpoe-eq4-cost": "As eq. 4 has it, a gradient is computed and then discarded, and what is saved is the "
    "optimizer's part for a layer's two centres, too little to be seen in a step. Which updates will be discarded "
    "is known before a step, and where their gradients are not computed, as this package trains in one process, a "
    "step is about 5 % faster at p_b = 0.5, and 11 % with frozen centres; all was measured beside another job, on "
    "one layer and 1,024 tokens.",
    "mpoe-tab1-gpt2-dense": "With four times the updates and without the mask the gap shrinks from 1.15 points to "
    "0.17, and the interval still leaves out zero. After 100 updates a dense model with MPOE's number of "
    "parameters, in wider blocks, is ahead of both with every seed.",
    "mpoe-tab1-more-experts": "The printed gain is four hundredths of a point of BLEU. Three seeds of a hundred "
    "texts cannot show one of less than a point.",
    "mpoe-tab2-dense": "After 120 updates one of MPOE's three seeds wrote no label for any row of MRPC and STS-B, and "
    "what is no label counts as wrong as can be; with more rows and three times the updates no seed does that, and the "
    "two means are equal to a tenth of a point. On no task does either get far, SST-2 being at 47 to 62 % and "
    "correlations on STS-B below 0.26.",
    "mpoe-tab3-sharing": "What has no sharing has no gradient mask either, so that two things differ at once, and no "
    "difference in perplexity can be seen, after 100 updates or after 400. With the mask left out of both, sharing is "
    "ahead by half a point after 400 updates, with every seed, and the interval just reaches zero.",
    "mpoe-tab3-mask": "After 400 updates the mask costs six tenths of a point of perplexity with every seed: a "
    "centre that is held back learns less. Harm from frequent updates of the centre, which the mask is meant "
    "against, is not seen in a part of one pass over the text.",
    "mpoe-tab3-important": "After 400 updates MPOE without the mask is half a point ahead of experts without "
    "sharing with every seed, and the interval just reaches zero. Neither of the two has a mask, so that this is what "
    "sharing alone comes to.",
    "mpoe-tab4-superior": "Of the 1.15 points that five tensors are above the dense model, 0.46 are left without the "
    "mask, 0.78 after four times the updates with it, and 0.17 with both, so that most of the gap is the mask's. Seven "
    "and nine tensors are 0.3 and 0.4 above it with both; whether that closes was not tried.",
    "mpoe-tab4-m3": "After 100 updates five tensors were ahead of three with every seed, by a third of a point; "
    "after 400, without the mask, with two of three, by a tenth. The print has a gap of three points.",
}
"""Id of a claim that did not come out -> the finding."""

ALTHOUGH: dict[str, str] = {
    "mpop-tab1-little": "Three or four points fewer than a half move by more than 1e-3, where the print has 27 %. How "
    "far entries move is set by the learning rate and by the number of updates, 39 here, and the paper prints neither.",
    "mpop-tab1-embedding": "Of the embedding 6 % of the numbers move by more than 1e-4, of the other matrices 94 %. "
    "A row of it has a gradient only where its word occurs, and 400 sentences hold a small part of 30,522 word pieces, "
    "so that the claim is first of all one about how many rows there are to learn from.",
    "mpop-tab3-squeezing": "All of it is STS-B, where squeezing is ahead by 19 to 31 points with every seed, at "
    "half of the dense model's score; on the other three tasks it is ahead in five of fifteen runs and behind in "
    "nine, and the pairs one by one leave the mean open. Cuts of a quarter are squeezing's choice on rows that "
    "choose, and cutting at once has them here because the claim is of one size; its own choice, eight updates a "
    "cut, is one right answer of 200 better and ends at another size.",
    "mpop-alg2-accumulates": "In MiniLM the error falls in the fifth layer and grows most in the sixth, with every "
    "draw; in albert-mini it grows in every layer. Errors that only add up would grow as well.",
    "mpobert-fig3-scratch": "On the rows that choose the decomposition starts at 3.9 nats before any update, is at "
    "4.0 after 20 and at 3.9 after 60, while random numbers go from 7.5 after 20 to 6.7 after 60: what starts "
    "trained is ahead by its start, and has learned nothing yet. How many updates from random numbers would be as "
    "good was not tried.",
    "mpobert-fig3-negligible": "After 60 updates ALBERT's loss is higher than before them, by two hundredths of a "
    "nat and with every seed, and so is that of MPOBERT made from it, by three. So few updates, at a rate that may "
    "be too high to go on with, say little about the paper's ten thousand.",
    "mpobert-fig4-albert": "With 1,000 rows for the probes the interval left it open, and with these rows it does "
    "so by the best layer in place of the mean one as well. Alike is a margin of this project, and MiniLM's trend, "
    "which is just above it, was measured with the fewer rows alone.",
    "mpobert-tab6-days": "bf16 alone makes a step 1.5 times as fast, and a fused activation alone is within its "
    "noise (1.00 to 1.16), where the print has 3.3 for the sum, on GPUs and with 48 layers. The interval is one of "
    "repetitions while another job ran beside them, and attention, optimizer, heads and rebuilding made faster as "
    "well add nothing on one core.",
    "mpoe-tab1-news": "The dense model writes with 40.0 and MPOE with 40.2, and with MPOE's router for both and no "
    "mask nothing is left between sharing and not sharing that three seeds can show. MoE, 38.4, and Switch, 37.1, "
    "have lost by becoming experts, as their perplexities say too, so that the gain is over what they lost.",
    "mpobert-eq1-centres": "The relative error is 0.888 with a neighbour's centre and 0.889 with a random one; after "
    "40 rounds the interval includes zero, behind the best rotations it does not. A gain of a thousandth is too small "
    "to be worth sharing.",
    "mpoe-eq4-alternatives": "Gradients masked before an activation that works entry by entry are those masked behind "
    "it, so that both runs are the same one, bit by bit; the paper's two alternatives may be others, which it does not "
    "describe. No mask at all has 84.1, the mask on centres 84.8, and the one on activations 85.7.",
    "mpoe-tab1-gpt2": "The difference is one of routers: with MPOE's router for both and no mask nothing is left that "
    "three seeds can show, and separate experts behind it are 16 ahead of those behind Switch's. Switch, at 101, is "
    "far behind the dense model's 84 as well.",
    "mpoe-tab1-gpt2-moe": "MoE, at 87, is behind the dense model's 84 as well, and with MPOE's router for both and no "
    "mask nothing is left that three seeds can show. Sharing centres costs next to nothing here, and no interval "
    "leaves out zero in its favour.",
}
"""Id of a claim that came out at a smaller scale -> how far that goes."""


def finding_on(row: Row) -> str:
    """ "" where nothing was run or there is nothing to add, and where other records than this project's make a claim of
    FINDINGS come out after all, or one of ALTHOUGH not.
    """
    if not row.on_runs or row.verdict == REPRODUCED:
        return ""
    return (ALTHOUGH if row.verdict.endswith(OUTCOMES[0]) else FINDINGS).get(row.id, "")
