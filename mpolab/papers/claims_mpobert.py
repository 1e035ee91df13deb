"""What MPOBERT (Liu et al. 2023) claims."""

from __future__ import annotations

from .claim import Claim, in_column

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "mpobert-eq1-central",
        "The central tensor has more than 90 % of a matrix's parameters.",
        says="more than 90 %",
        note="of attention's matrices it has less",
    ),
    Claim(
        "mpobert-eq1-middle",
        "For odd n the middle tensor is the largest, and the others become smaller with the distance from it.",
        says="'when n is odd, the middle tensor contains the most parameters [...], while the parameter sizes of the "
        "rest decrease with the increasing distance to the middle tensor'",
        note="of balanced factors; with the factors 8, 6, 4, 2, 2 of 768 x 768 the second tensor is the largest",
    ),
    Claim(
        "mpobert-eq1-reach",
        "A perturbation of an auxiliary tensor can reach the whole matrix.",
        says="'a small perturbation on an auxiliary tensor can reflect the whole matrix'",
        note="of all numbers of a tensor; one number of it reaches 11 to 25 % of the entries of a 96 x 96 matrix",
    ),
    Claim(
        "mpobert-eq1-adapter",
        "Adapters of rank r have L r d_total parameters, d_total being the sum of a layer's two dimensions.",
        says="'L x r x d_total'",
        note="at rank 8 the sum over the four matrices of attention is what the tables differ by",
    ),
    Claim(
        "mpobert-eq1-centres",
        "With the centre of a neighbouring layer less of a matrix is left over than with a random centre.",
        says="'share the central tensor across layers (capturing the essential information)'",
        note="of layers that were trained apart; how much less would be enough to share it is not said, and here it is "
        "a thousandth",
    ),
    Claim(
        "mpobert-eq2-bounded",
        "With the scaled initialisation one update is bounded for any depth (scalar model).",
        says="O(1)",
        note="the corollary leaves out what the shared centre's update does",
    ),
    Claim(
        "mpobert-eq3-bound",
        "The sum of Theorem A.1 bounds the change of the model (scalar model).",
        says="||dF|| <= sum of c v |du| + c u |dv| + v u |dc|",
        note="initialised as Corollary A.2 has it",
    ),
    Claim(
        "mpobert-eq8-last",
        "The derivative by the last layer's weight is of that weight's size, as the proof of Corollary A.2 has it.",
        says="||dF/dtheta_N|| = ||theta_N|| (in size)",
    ),
    Claim(
        "mpobert-eq2-depth",
        "In an encoder, an update with the scaled initialisation grows less with depth than with a plain copy.",
        says="O(1) for any depth",
    ),
    Claim(
        "mpobert-alg1-scale",
        "Algorithm 1 scales a matrix as the theory has it.",
        says="auxiliary tensors times (2L)^(-1/4)",
        note="the theory has one tensor a side (n = 3), the listing two; text and listing scale different tensors",
    ),
    Claim(
        "mpobert-alg1-same",
        "Text and listing begin the layers above ALBERT's depth alike.",
        says="'the randomly initialized values' (text), ALBERT's own auxiliary tensors (listing), times (2L)^(-1/4)",
    ),
    Claim(
        "mpobert-alg1-updates",
        "The listing's training updates the tensors that layers are made of.",
        says="'W_t <- W_(t-1) - eta g_t' with g_t the derivative by W_t (lines 13 and 14)",
        note="read to the letter, where W is the product and the adapter (line 10); eq. 2 has updates of the tensors, "
        "and the text trains these and the adapters",
    ),
    Claim(
        "mpobert-alg1-rebuilding",
        "In pre-training, making the matrices from their tensors costs little beside what is then done with them.",
        says="'combine them to derive the original parameter matrix for forward computation (taking a relatively small "
        "cost of parallel matrix multiplication)'",
        note="little is taken to be less than a tenth; how long rows are is not printed, MPOP's have up to 128 tokens; "
        "a device that takes its rows in parts makes the matrices for each, and the 8 to 32 rows of fine-tuning are "
        "too few",
    ),
    Claim(
        "mpobert-alg1-source",
        "MPOBERT begins with the released ALBERT of 24 layers.",
        says="'we use the released 24-layer ALBERT', 'ALBERT only provides a 24-layer architecture'",
        note="there is one of twelve layers, 768 wide, too, and Table 1 has it",
    ),
    Claim(
        "mpobert-tab1-dev-averages",
        "The averages are the means of their rows (development sets).",
        in_column("mpobert-tab1-dev", "Avg.", "MPOBERT48+", "BART12"),
    ),
    Claim(
        "mpobert-tab1-test-averages",
        "The averages are the means of their rows (test sets).",
        in_column("mpobert-tab1-test", "Avg.", "BERT12", "T512"),
    ),
    Claim(
        "mpobert-tab1-lead",
        "MPOBERT12 is 1.7 above BERT12 and 0.4 above XLNet12 on the test sets.",
        in_column("mpobert-tab1-test", "Avg.", "MPOBERT12", "BERT12"),
        says="+1.7, +0.4",
    ),
    Claim(
        "mpobert-tab1-24",
        "MPOBERT24 is above ALBERT24, on the development sets and on the test sets.",
        (
            *in_column("mpobert-tab1-dev", "Avg.", "MPOBERT24", "ALBERT24"),
            *in_column("mpobert-tab1-test", "Avg.", "MPOBERT24", "ALBERT24"),
        ),
    ),
    Claim(
        "mpobert-tab1-sizes",
        "The models beside MPOBERT have the sizes that are printed.",
        says="11, 18, 25, 60, 67, 67, 110, 117, 125, 140 M",
        note="as transformers builds the released ones: ALBERT, MobileBERT, DistilBERT and BERT with a classifier, the "
        "others without; BERT's and BART's sizes are meant to two digits",
    ),
    Claim(
        "mpobert-tab1-metrics",
        "STS-B is scored by Spearman's correlation and MRPC by F1, as in MPOE.",
        says="'Following Gao et al. (2022)'",
    ),
    Claim(
        "mpobert-tab1-squad",
        "The test half has scores on a test set of SQuAD.",
        in_column("mpobert-tab1-test", "SQuAD", "ALBERT12", "BERT12", "MPOBERT12"),
    ),
    Claim(
        "mpobert-tab1-count",
        "MPOBERT of 12, 24 and 48 layers has 20, 46 and 75 M parameters.",
        in_column("mpobert-tab1-dev", "#To", "MPOBERT12", "MPOBERT24", "MPOBERT48"),
        unit="M",
        note="12 layers count adapters of rank 8, 24 and 48 none; 75 with the heads of pre-training",
    ),
    Claim(
        "mpobert-tab1-count-plus",
        "MPOBERT48+ has 102 M parameters.",
        ("mpobert-tab1-dev | MPOBERT48+ | #To",),
        unit="M",
        note="only with adapters beside three matrices, where the other rows need four",
    ),
    Claim(
        "mpobert-tab1-auxiliary",
        "Auxiliary tensors are a very small part of the parameters, and do not make the model much larger.",
        says="'only contain a very small proportion of parameters, which does not significantly increase the model "
        "size'",
        note="as the centre is said to have more than 90 %, a very small part is taken to be less than 10 %; of one "
        "matrix they are 6 to 13 %, but each layer has its own",
    ),
    Claim(
        "mpobert-tab1-depth",
        "Four times BERT-base's depth at fewer parameters than it has.",
        ("mpobert-tab1-dev | MPOBERT48 | #To", "mpobert-tab1-dev | BERT12 | #To"),
        unit="M",
    ),
    Claim(
        "mpobert-tab1-deeper",
        "Deeper models need no additional parameters and no additional computation.",
        in_column("mpobert-tab1-dev", "#To", "MPOBERT24", "MPOBERT48"),
        unit="M",
        says="'without the need for additional parameters or computational resources'",
        note="beside which model is not said; rebuilding the matrices from their tensors comes on top",
    ),
    Claim(
        "mpobert-tab1-fewer",
        "MPOBERT of 12 layers has fewer parameters than others of 12 layers.",
        in_column("mpobert-tab1-test", "#To", "MPOBERT12", "ALBERT12"),
        unit="M",
        says="'comparable results or even outperforms (+1.7 for BERT12 and +0.4 for XLNet12) PLMs while having fewer "
        "parameters'",
        note="of the two that are named it is true; what is comparable is not said, RoBERTa is 1.8 above",
    ),
    Claim(
        "mpobert-tab1-classes",
        "MobileBERT is a small model, of 50 to 100 M parameters.",
        ("mpobert-tab1-test | MobileBERT24 | #To",),
        unit="M",
        says="'Small models (50M < #To < 100M). We consider PLMs (T5-12) and compressed models (MobileBERT [...])'",
        note="the table has it among the tiny ones",
    ),
    Claim(
        "mpobert-tab1-efficient",
        "48 layers are consistently better than T5 and the parameter-efficient models.",
        in_column("mpobert-tab1-dev", "Avg.", "MPOBERT48", "T512"),
        says="'consistently achieves better results than T512 and all parameter-efficient models'",
        note="these are MobileBERT, TinyBERT and DistilBERT by the table's caption; consistently is taken to be in "
        "every score",
    ),
    Claim(
        "mpobert-tab1-competing",
        "MPOBERT is consistently above other models: fine-tuned, with several tasks at once and with few shots.",
        in_column("mpobert-tab1-test", "Avg.", "MPOBERT12", "ALBERT12"),
        says="'consistently outperforms other competing models'",
        note="the best MPOBERT of each class of sizes is above its rivals",
    ),
    Claim(
        "mpobert-tab1-albert",
        "MPOBERT scores above ALBERT.",
        in_column("mpobert-tab1-dev", "Avg.", "MPOBERT24", "ALBERT24"),
    ),
    Claim(
        "mpobert-tab1-bert",
        "MPOBERT scores above BERT.",
        in_column("mpobert-tab1-dev", "Avg.", "MPOBERT12", "BERT12"),
    ),
    Claim(
        "mpobert-tab2-averages",
        "The averages are the means of their rows.",
        in_column("mpobert-tab2", "Avg.", "BERT12", "MPOBERT48", "MPOBERT12", "ALBERT12"),
    ),
    Claim(
        "mpobert-tab2-mrpc",
        "Sharing central tensors scores 82.0 against 81.4 on MRPC.",
        ("mpobert-tab2 | MPOBERT12 | MRPC", "mpobert-tab2 | ALBERT12 | MRPC"),
        says="in the text 82.0 against 81.4",
    ),
    Claim(
        "mpobert-tab2-lead",
        "By the printed scores, 48 layers are 1.4 above BERT.",
        in_column("mpobert-tab2", "Avg.", "MPOBERT48", "BERT12"),
        says="'1.4 points higher on average GLUE score than BERT12'",
    ),
    Claim(
        "mpobert-tab2-albert",
        "Trained on several tasks at once, MPOBERT scores above ALBERT.",
        in_column("mpobert-tab2", "Avg.", "MPOBERT12", "ALBERT12"),
    ),
    Claim(
        "mpobert-tab2-bert",
        "Trained on several tasks at once, MPOBERT scores above BERT.",
        in_column("mpobert-tab2", "Avg.", "MPOBERT48", "BERT12"),
    ),
    Claim(
        "mpobert-tab3-print",
        "With few shots MPOBERT12 is above BERT12 and ALBERT12 in every column.",
        in_column("mpobert-tab3", "MNLI/10", "MPOBERT12", "BERT12"),
    ),
    Claim(
        "mpobert-tab3-bert",
        "With few shots MPOBERT scores above BERT.",
        in_column("mpobert-tab3", "SST-2/20", "MPOBERT12", "BERT12"),
    ),
    Claim(
        "mpobert-tab3-albert",
        "With few shots MPOBERT scores above ALBERT.",
        in_column("mpobert-tab3", "SST-2/20", "MPOBERT12", "ALBERT12"),
    ),
    Claim(
        "mpobert-tab4-count",
        "With adapters of rank 8 MPOBERT12 has 20.0 M parameters, without adapters 19.4 M.",
        in_column("mpobert-tab4", "#To", "MPOBERT12", "w/o Adapter"),
        unit="M",
    ),
    Claim(
        "mpobert-tab4-count-unshared",
        "Without sharing MPOBERT12 has 11.9 M parameters.",
        ("mpobert-tab4 | w/o PS | #To",),
        unit="M",
        note="no setting gives it; without sharing there are more numbers",
    ),
    Claim(
        "mpobert-tab4-same-model",
        "MPOBERT12 is the model of Table 1.",
        ("mpobert-tab4 | MPOBERT12 | RTE", "mpobert-tab1-dev | MPOBERT12 | RTE"),
    ),
    Claim(
        "mpobert-tab4-adapter",
        "Without adapters MPOBERT scores lower.",
        in_column("mpobert-tab4", "RTE", "MPOBERT12", "w/o Adapter"),
    ),
    Claim(
        "mpobert-tab4-sharing",
        "Without sharing MPOBERT scores lower.",
        in_column("mpobert-tab4", "RTE", "MPOBERT12", "w/o PS"),
    ),
    Claim(
        "mpobert-tab4-crucial",
        "Sharing plays a more crucial role than adapters: without it the score is lower than without adapters.",
        in_column("mpobert-tab4", "RTE", "w/o Adapter", "w/o PS"),
    ),
    Claim(
        "mpobert-tab5-count",
        "With adapters of rank 4, 8 and 64 MPOBERT12 has 19.7, 20.0 and 24.3 M parameters.",
        in_column("mpobert-tab5", "#To", "4", "8", "64"),
        unit="M",
    ),
    Claim(
        "mpobert-tab5-rank-4",
        "Rank 8 scores above rank 4.",
        in_column("mpobert-tab5", "RTE", "8", "4"),
    ),
    Claim(
        "mpobert-tab5-rank-64",
        "Rank 8 scores above rank 64.",
        in_column("mpobert-tab5", "RTE", "8", "64"),
    ),
    Claim(
        "mpobert-tab5-sufficient",
        "By the printed scores, adapters of rank 8 are above those of rank 4 and 64, and above none at all.",
        in_column("mpobert-tab5", "RTE", "8", "4", "64"),
        says="'a rank of 8 is sufficient'",
        note="the model without adapters is a row of Table 4",
    ),
    Claim(
        "mpobert-tab5-necessity",
        "Adapters of every rank score above the model without adapters.",
        in_column("mpobert-tab5", "RTE", "4", "8", "64"),
        says="'which further shows the necessity of layer-specific adapters'",
        note="that every rank has to be above none at all is this project's reading of necessity; rank 8 is",
    ),
    Claim(
        "mpobert-tab5-main",
        "The models of Table 1 have adapters of rank 8.",
        in_column("mpobert-tab1-dev", "#To", "MPOBERT12", "MPOBERT24", "MPOBERT48"),
        unit="M",
        says="'we set a rank of 8 for MPOBERT in the main results'",
    ),
    Claim(
        "mpobert-tab6-same-model",
        "MPOBERT48+ scores as in Table 1.",
        ("mpobert-tab6 | MPOBERT48+ | dev", "mpobert-tab1-dev | MPOBERT48+ | Avg."),
    ),
    Claim(
        "mpobert-tab6-bert-large",
        "MPOBERT48+ is 0.1 above BERT-large on the test sets.",
        in_column("mpobert-tab6", "test", "MPOBERT48+", "BERT-large"),
        says="+0.1",
        note="+1.1 with the average of Table 1",
    ),
    Claim(
        "mpobert-tab6-sizes",
        "The strong variants have the sizes that are printed.",
        in_column(
            "mpobert-tab6",
            "#To",
            "T5-11B",
            "T5-base",
            "BERT-large",
            "ALBERT-xxlarge",
            "RoBERTa-large",
            "BART-large",
            "XLNet-large",
        ),
        unit="M",
        note="as transformers builds the released ones, T5 with its head, the others without",
    ),
    Claim(
        "mpobert-tab6-depths",
        "The strong variants have as many layers as is printed.",
        in_column("mpobert-tab6", "depth", "T5-11B", "T5-base", "ALBERT-xxlarge", "BART-large"),
        note="of encoder and decoder together, by which T5-base and BART have 24",
    ),
    Claim(
        "mpobert-tab6-days",
        "Mixed precision and a fused activation make pre-training faster.",
        ("mpobert-tab6 | MPOBERT48+ | days",),
        unit="days",
        says="'compared with a non-optimized cost of 12.5 days'",
        note="3.3 times as fast with FP16 and fused activation and normalisation, on eight V100; here bf16, and "
        "PyTorch's normalisation is one kernel either way",
    ),
    Claim(
        "mpobert-fig1-comparable",
        "By the printed scores, 48 layers are like other models of 12 layers, with fewer parameters.",
        ("mpobert-tab1-dev | MPOBERT48 | Avg.", "mpobert-tab1-dev | RoBERTa12 | Avg."),
        says="'comparable results to other 12-layer PLMs with a reduced number of parameters'",
        note="said of Table 1, whose sizes, depths and scores the figure draws; comparable is taken to be no lower an "
        "average; these models are BERT, XLNet, RoBERTa and BART",
    ),
    Claim(
        "mpobert-fig3-steps",
        "MPOBERT48+ is pre-trained for 10k steps, in the setup and in Table 6.",
        says="'all of the models with a batch size of 4096 for 10k steps'",
        note="Figure 3's run from random numbers, which 'requires around 50k steps', is taken to be none of them",
    ),
    Claim(
        "mpobert-fig3-scratch",
        "Started from ALBERT's decomposition, MPOBERT has a lower loss than from random numbers after as many updates.",
        says="'significantly accelerates convergence'",
        note="the paper's curve is of SST-2's accuracy over steps, and 'from scratch requires around 50k steps to "
        "achieve performance comparable to BERT_BASE': how fast either way converges, and when it is where BERT is, "
        "was not tested",
    ),
    Claim(
        "mpobert-fig3-negligible",
        "ALBERT itself gains next to nothing by more pre-training.",
        says="'the gains from continual pre-training for ALBERT are negligible'",
        note="next to nothing is taken to be within 0.05 nats, five per cent of the perplexity",
    ),
    Claim(
        "mpobert-fig3-continued",
        "ALBERT itself, pre-trained further, gains less than MPOBERT made from it.",
        says="'the gains from continual pre-training for ALBERT are negligible'",
        note="both start from one function, so that the one with the lower loss has gained more, or lost less",
    ),
    Claim(
        "mpobert-fig4-bert",
        "In BERT, meaning is read best in higher layers than syntax.",
        says="a heat map; 'more local syntax in lower layers and more complex semantics in higher layers'",
        note="no number for it is printed; 'following Tenney et al.' is a method for edges, the tasks are SentEval's",
    ),
    Claim(
        "mpobert-fig4-albert",
        "In ALBERT, meaning and syntax are read best in about the same layers.",
        says="a heat map; 'does not exhibit such a clear trend'",
        note="how clear is clear is not said; alike is taken to be within a tenth of the depth: a layer of 12",
    ),
    Claim(
        "mpobert-fig4-mpobert",
        "In MPOBERT, meaning stands above syntax by more layers, as a share of all, than in ALBERT.",
        says="a heat map; 'similar layer-wise behavior to BERT in some tasks (i.e., task 0,2,4)'",
        note="which tasks the numbers 0 to 4 are is not said, and task 3 is said to be as in ALBERT",
    ),
    Claim(
        "mpobert-fig4-lower",
        "In MPOBERT task 3 is read in as low layers as in ALBERT.",
        says="a heat map; 'improved results in lower layers for others (i.e., task 3) which is similar to ALBERT'",
        note="counted from 0 as SentEval lists them, task 3 is the constituents at a sentence's top; depth is the "
        "centre of the layers that find it, and alike within 0.1, about a layer of twelve",
    ),
)
