"""What MPOP (Liu et al. 2021) claims."""

from __future__ import annotations

from .claim import Claim, in_column

CLAIMS: tuple[Claim, ...] = (
    Claim("mpop-eq1-exact", "The product of the local tensors is the matrix, exactly.", says="M = the product"),
    Claim("mpop-eq2-bonds", "Eq. 2 gives the bonds that a matrix without structure needs.", says="d_k = min(., .)"),
    Claim(
        "mpop-eq2-middle",
        "Bonds are large in the middle and small on both sides.",
        says="'large in the middle and small on both sides'",
    ),
    Claim(
        "mpop-eq2-centre",
        "At full bonds most of a matrix's parameters are in its central tensor.",
        says="'the central tensor with most of the parameters'",
        note="of a matrix that is cut hard, the auxiliary tensors hold more",
    ),
    Claim(
        "mpop-eq3-range",
        "With the local errors of eq. 3 the root of the sum of their squares bounds the whole error.",
        says="sum of lambda_i, i = d_k - d'_k .. d_k",
        note="the discarded values are i = d'_k + 1 .. d_k, and the appendix has their squares",
    ),
    Claim(
        "mpop-eq4-bound",
        "With the discarded squares as local errors, the root of their sum bounds the whole error.",
        says="error <= root of the sum of squares",
    ),
    Claim(
        "mpop-eq4-squares",
        "The error is bounded by the sum of the squared local errors.",
        says="'is bounded by the sum of the squared local truncation errors'",
        note="eq. 4 itself has the root; the sentence behind it names eq. 1",
    ),
    Claim("mpop-eq5-counts", "The compression ratio counts the numbers that are stored.", says="rho"),
    Claim(
        "mpop-eq5-error",
        "The larger the ratio, the smaller the error.",
        says="'the larger the compression ratio rho is, and the more parameters there are, and the smaller the "
        "reconstruction error is'",
        note="with one cap on all bonds; of two lists of bonds that with the larger ratio can have the larger error: "
        "4-4-4-4 and 4-16-1-1 of a 48 x 60 matrix",
    ),
    Claim(
        "mpop-eq6-grows",
        "The entropy of a bond grows with its dimension, so that the central tensor has the largest.",
        says="'S_k is an increasing function of dimension d_k'",
        note="true of a matrix without structure; nothing makes it so for others",
    ),
    Claim(
        "mpop-eq6-centre",
        "The bonds of the central tensor have most of the entropy, more than those of any other.",
        says="'most of the information in an original matrix will be concentrated in the central tensor'",
        note="eq. 6 gives a number to each bond and none to a tensor; a bond lies between two, so that shares add up "
        "to 200 %, and where it is halved between them no tensor of any matrix can have more than half; a matrix built "
        "from small factors has no entropy at all (mpop-eq6-grows)",
    ),
    Claim(
        "mpop-eq6-values",
        "Before eq. 6 and behind it the same numbers are meant.",
        says="'normalized singular values' (before), 'the normalized SVD eigenvalues' (behind)",
        note="if 'eigenvalues' is a loose word for singular values, it is the authors' script that differs; this "
        "package squares unless it is asked for the other reading",
    ),
    Claim(
        "mpop-eq6-same-effect",
        "Training the auxiliary tensors has almost the same effect as training the central one.",
        says="'almost the same effect after convergence'",
        note="74,016 numbers cannot reach every matrix of 589,824; almost is taken to be within a point; what is no "
        "tensor of an MPO trains in both, and 39 updates are no convergence",
    ),
    Claim("mpop-alg1-exact", "Algorithm 1 gives the matrix back.", says="MPO(M) = M"),
    Claim(
        "mpop-alg2-stop",
        "The text and the listing stop squeezing at the same step.",
        says="stop if the gap is smaller (text), larger (listing)",
        note="the listing is meant",
    ),
    Claim(
        "mpop-alg2-growth",
        "An error made in one layer is amplified by the later ones.",
        says="'accumulated and amplified exponentially by the number of layers'",
        note="accumulated is something else, and a row of its own: every layer that is cut adds an error",
    ),
    Claim(
        "mpop-alg2-accumulates",
        "With all layers cut the error is larger behind the last layer than behind the first.",
        says="'accumulated and amplified exponentially by the number of layers'",
    ),
    Claim(
        "mpop-alg2-exponential",
        "With all layers cut the error grows by the same factor from layer to layer.",
        says="'accumulated and amplified exponentially by the number of layers'",
        note="errors that only add up grow like a power of the number of layers, by a factor that falls towards 1",
    ),
    Claim(
        "mpop-tab1-little",
        "Most parameters vary little in fine-tuning: fewer than half by more than 1e-3.",
        ("mpop-tab1 | Feed-forward | (1e-3,inf)", "mpop-tab1 | Self-attention | (1e-3,inf)"),
        says="shares that move more than 1e-3",
        note="how far entries move depends first of all on learning rate and number of updates, which are not printed",
    ),
    Claim(
        "mpop-tab1-embedding",
        "The word embedding varies least: more of it stays within 1e-4 than of the other matrices.",
        in_column("mpop-tab1", "(0,1e-4]", "Word embedding", "Feed-forward"),
        note="the rows of words that do not occur in training do not move; the shorter a training, the more there are",
    ),
    Claim(
        "mpop-tab2-tucker",
        "For n > 3 the time of MPO is below that of Tucker.",
        says="n m d^3 against n m d + d^n",
        note="true of the printed expressions from some d on; the sequential form carries other legs along",
    ),
    Claim(
        "mpop-tab2-cp",
        "CP is Tucker's decomposition with d = 1.",
        says="Tucker (d=1) (CP), n m d^2",
        note="the text has it right: 'CPD is a special case of Tucker when the core tensor is the super-diagonal "
        "matrix', which is of ranks d; with d = 1 the table's n m d^2 is n m",
    ),
    Claim(
        "mpop-tab2-capacity",
        "With the same d, more tensors can do more.",
        says="'the algorithm capacity is larger with the increase of n (more tensors)'",
        note="the same d, as the table has 'common parameters'; what capacity is is not said: here the numbers "
        "that there are, and the matrices that can be reached; of errors at the same ratio see mpop-fig2-n",
    ),
    Claim("mpop-tab2-svd", "The SVD is the MPO with n = 2.", says="MPO (n=2) (SVD)"),
    Claim(
        "mpop-tab3-averages",
        "The scores are the means of nine tasks.",
        in_column("mpop-tab3", "Score", "ALBERT_rep", "MPOP", "MPOP_full", "MPOP_full+LFA", "MPOP_dir"),
    ),
    Claim("mpop-tab3-wnli", "56.3 on WNLI is what its majority class scores.", ("mpop-tab3 | MPOP | WNLI",)),
    Claim(
        "mpop-tab3-architecture",
        "All models have 12 heads and are 768 wide.",
        says="'the number of self-attention heads, the hidden dimension of embedding vectors, and the max length [...] "
        "are set to 12, 768 and 128'",
        note="read as the hidden size; of ALBERT's and MobileBERT's tables of words the width is 128",
    ),
    Claim(
        "mpop-tab3-count-albert",
        "ALBERT has 11.6 M parameters.",
        ("mpop-tab3 | ALBERT_rep | #To",),
        unit="M",
    ),
    Claim(
        "mpop-tab3-count-full",
        "As full-rank MPOs ALBERT has 12.7 M parameters.",
        ("mpop-tab3 | MPOP_full | #To",),
        unit="M",
    ),
    Claim(
        "mpop-tab3-count-lfa",
        "Of these, 1.2 M train if the central tensors are frozen.",
        ("mpop-tab3 | MPOP_full+LFA | #Pr",),
        unit="M",
    ),
    Claim(
        "mpop-tab3-count-squeezed",
        "Squeezed, 1.1 M of 9 M parameters train.",
        ("mpop-tab3 | MPOP | #Pr", "mpop-tab3 | MPOP | #To"),
        unit="M",
        note="each is reachable, not both together",
    ),
    Claim(
        "mpop-tab3-91",
        "By the printed sizes, 91 % fewer parameters are fine-tuned than of ALBERT.",
        says="91 %",
        note="the abstract has '91% reduction on average', which may be over tasks, as the column 'Avg. #Pr' is; over "
        "the four models it is 90.0 %",
    ),
    Claim(
        "mpop-tab3-metrics",
        "All scores but that of STS-B are accuracies.",
        ("mpop-tab3 | ALBERT_rep | CoLA", "mpop-tab3 | MPOP | CoLA"),
        says="'Spearman correlations are reported for STS-B and accuracy scores are reported for the other tasks'",
        note="the table's head has 'mcc', Matthews' correlation, for CoLA",
    ),
    Claim(
        "mpop-tab3-22",
        "By the printed sizes, 22 % fewer parameters in total than ALBERT.",
        says="22 %",
        note="of the printed sizes; the caps that leave 1.1 M to train leave 9.4 % fewer in all",
    ),
    Claim(
        "mpop-tab3-all-but-mnli",
        "By the printed scores, MPOP is above ALBERT in all tasks except MNLI.",
        in_column("mpop-tab3", "Score", "MPOP", "ALBERT_rep"),
    ),
    Claim(
        "mpop-tab3-larger-gains",
        "By the printed scores, the gains over ALBERT are larger on CoLA, RTE and WNLI than on the other tasks.",
        says="'the improvements over ALBERT are larger on CoLA, RTE and WNLI tasks'",
    ),
    Claim(
        "mpop-tab3-small-sets",
        "By the printed scores, the gains over ALBERT are larger where training sets are small (below 4,000 rows).",
        says="'seems to work better with limited training data'",
        note="by the means; MRPC, as small and not named, gains 0.7, and QNLI, STS-B and CoLA gain more than it",
    ),
    Claim(
        "mpop-tab3-overfit",
        "With all tensors trained a large model over-fits on RTE and MRPC, compared with ALBERT.",
        ("mpop-tab3 | MPOP_full | RTE", "mpop-tab3 | ALBERT_rep | RTE"),
        says="'more likely to overfit on small datasets (e.g., RTE and MRPC)'",
        note="the paper calls it a speculation",
    ),
    Claim(
        "mpop-tab3-lfa",
        "Training the auxiliary tensors alone scores above training all tensors.",
        in_column("mpop-tab3", "Score", "MPOP_full+LFA", "MPOP_full"),
    ),
    Claim(
        "mpop-tab3-lfa-dense",
        "Training the auxiliary tensors alone scores above the dense model.",
        in_column("mpop-tab3", "Score", "MPOP_full+LFA", "ALBERT_rep"),
    ),
    Claim(
        "mpop-tab3-full-dense",
        "MPOs at full bonds, all trained, score above the dense model.",
        in_column("mpop-tab3", "Score", "MPOP_full", "ALBERT_rep"),
    ),
    Claim(
        "mpop-tab3-squeezed-dense",
        "The squeezed model scores above the dense one.",
        in_column("mpop-tab3", "Score", "MPOP", "ALBERT_rep"),
    ),
    Claim(
        "mpop-tab3-squeezing",
        "Squeezing bond by bond scores above cutting at once to the same size.",
        in_column("mpop-tab3", "Score", "MPOP", "MPOP_dir"),
        note="the text: 'can dramatically alleviate the accumulation error in the stacked architecture'; how much is "
        "dramatic is not said, and by the averages squeezing takes back all that cutting at once loses, and more; "
        "scores stand for errors, as training moves what layers put out",
    ),
    Claim(
        "mpop-tab4-wnli",
        "Every score on WNLI is a share of its 71 rows.",
        in_column("mpop-tab4", "WNLI", "BERT", "MobileBERT"),
    ),
    Claim(
        "mpop-tab4-sizes",
        "The models that are compressed hold 110, 66 and 25.3 M parameters.",
        in_column("mpop-tab4", "#To", "BERT", "DistilBERT", "MobileBERT"),
        unit="M",
    ),
    Claim(
        "mpop-tab4-count",
        "BERT with MPOP trains 7.7 M of 70.4 M parameters.",
        ("mpop-tab4 | MPOP_B | #Pr", "mpop-tab4 | MPOP_B | #To"),
        unit="M",
        note="found with caps of 350, 240 and 180; others fit as well",
    ),
    Claim(
        "mpop-tab4-count-distil",
        "DistilBERT with MPOP trains 4.0 of 43.4 M parameters.",
        ("mpop-tab4 | MPOP_D | #Pr", "mpop-tab4 | MPOP_D | #To"),
        unit="M",
        note="found with an uncut embedding and caps of 44 and 204; others fit as well",
    ),
    Claim(
        "mpop-tab4-count-mobile",
        "MobileBERT with MPOP trains 4.4 of 15.4 M parameters.",
        ("mpop-tab4 | MPOP_M | #Pr", "mpop-tab4 | MPOP_M | #To"),
        unit="M",
        note="found with caps of 190, 54 and 44, two of three projections in a layer as MPOs, the third dense; others "
        "fit as well",
    ),
    Claim(
        "mpop-tab4-rte",
        "On RTE the squeezed model scores above the dense one, for other models as well.",
        in_column("mpop-tab4", "RTE", "MPOP_M", "MobileBERT"),
    ),
    Claim(
        "mpop-tab4-improves",
        "MPOP improves compressed models, DistilBERT and MobileBERT.",
        ("mpop-tab4 | MPOP_M | MRPC", "mpop-tab4 | MobileBERT | MRPC"),
        says="'our approach can further improve other compressed PLMs'",
        note="by the mean of its three scores each model gains; both become smaller",
    ),
    Claim(
        "mpop-tab5-counts",
        "The last one, two and three layers have 31.5, 38.6 and 45.7 M parameters to train.",
        in_column("mpop-tab5", "#Pr", "BERT_12", "BERT_11-12", "BERT_10-12"),
        unit="M",
        note="they count 23.8 M of the embeddings",
    ),
    Claim(
        "mpop-tab5-count-mpop",
        "BERT's auxiliary tensors are 10.1 M.",
        ("mpop-tab5 | MPOP_B | #Pr",),
        unit="M",
        note="the factors of BERT's matrices are not printed; other choices give 9 to 11 M",
    ),
    Claim(
        "mpop-tab5-same-model",
        "MPOP_B is the model of Table 4.",
        ("mpop-tab5 | MPOP_B | #Pr", "mpop-tab4 | MPOP_B | #Pr"),
        unit="M",
    ),
    Claim(
        "mpop-tab5-rte-gap",
        "Training only the last layers falls further behind MPOP on RTE than on the other tasks.",
        in_column("mpop-tab5", "RTE", "MPOP_B", "BERT_10-12"),
        says="'much worse than our approach, especially on the RTE task'",
    ),
    Claim(
        "mpop-tab5-last-1",
        "Training the auxiliary tensors scores above training the last layer.",
        in_column("mpop-tab5", "RTE", "MPOP_B", "BERT_12"),
    ),
    Claim(
        "mpop-tab5-last-2",
        "Training the auxiliary tensors scores above training the last two layers.",
        in_column("mpop-tab5", "RTE", "MPOP_B", "BERT_11-12"),
    ),
    Claim(
        "mpop-tab5-last-3",
        "Training the auxiliary tensors scores above training the last three layers.",
        in_column("mpop-tab5", "RTE", "MPOP_B", "BERT_10-12"),
    ),
    Claim(
        "mpop-fig2-cpd",
        "MPO has a smaller reconstruction error than CPD at all compression ratios.",
        says="'MPO is superior to CPD'",
        note="true CPD of the paper's matrix at rho = 0.1 needs rank 15,521; the reference is to the SVD",
    ),
    Claim(
        "mpop-fig2-tucker",
        "Tucker decomposition of BERT's embedding needs more memory than is reasonable.",
        says="'general Tucker decomposition [...] cannot obtain results with reasonable memory'",
        note="what is reasonable is not said; here, ten times the matrix",
    ),
    Claim(
        "mpop-fig2-time",
        "More local tensors cost more time.",
        says="'a larger n requires a higher time complexity'; n m d^3 in Table 2",
        note="m is the largest factor, which falls as n rises",
    ),
    Claim(
        "mpop-fig2-n",
        "The error is about the same for n = 3, 5 and 7.",
        says="'relatively stable with respect to the number of local tensors'",
    ),
    Claim(
        "mpop-fig2-plans-n",
        "Plans with n = 3, 5, 7 and 9 leave almost the same error.",
        says="'different decomposition plans always lead to almost the same results'",
        note="almost the same is taken to be within 5 % of the error",
    ),
    Claim(
        "mpop-fig2-plans",
        "Plans with other orders of the factors leave almost the same error, too.",
        says="'different decomposition plans always lead to almost the same results'",
        note="what makes a plan different is not said; padding is its example",
    ),
)
