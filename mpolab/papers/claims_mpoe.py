"""What MPOE (Gao et al. 2022) claims."""

from __future__ import annotations

from .claim import Claim, in_column

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "mpoe-eq4-discard",
        "A gradient of zero discards the update of the central tensor.",
        says="'discard the update in the central tensor'",
        note="with Adam a zero gradient still moves it",
    ),
    Claim(
        "mpoe-eq4-alternatives",
        "A mask on the central tensors has a lower perplexity than one on the activations' gradients.",
        says="'compared with [...] mask pre-activation or post-activation in FFN layers, [...] such a sampling-based "
        "masking strategy can effectively improve the model performance'",
        note="read as dropping entries of other gradients with the same probability; before and behind an activation "
        "that works entry by entry it is one",
    ),
    Claim(
        "mpoe-eq4-cost",
        "Discarding updates of the central tensors makes a training step cheaper.",
        says="'the computational cost of central tensor update can be also reduced with this trick'",
        note="said of the update, which is left out as often as p_b says; measured on the whole step",
    ),
    Claim(
        "mpoe-eq4-frequent",
        "Central tensors are updated more frequently than the auxiliary tensors of an expert.",
        says="'the corresponding parameters of the central tensor will be updated more frequently than those in the "
        "auxiliary tensors during fine-tuning'",
        note="read as so many updates: an expert without a token is not updated (Algorithm 1, line 6); that the centre "
        "gets the gradients of all experts' tokens and auxiliary tensors those of their own holds by construction",
    ),
    Claim(
        "mpoe-eq4-probability",
        "The central tensor is updated with the probability p_b.",
        says="'updating the central tensor with a probability of p_b (the mask probability [...])' (Figure 2)",
        note="the text and eq. 4 discard an update with it; this package follows them",
    ),
    Claim(
        "mpoe-alg1-orders",
        "The central tensor is two orders of magnitude larger than the auxiliary ones.",
        says="two orders of magnitude",
    ),
    Claim(
        "mpoe-alg1-cost",
        "Sharing the central tensor largely reduces the numbers that networks with experts hold.",
        says="'the cost of MoE-based networks will be largely reduced by sharing the central tensor'",
        note="said of numbers of parameters; in work it is the other way: the experts' matrices are rebuilt, so that "
        "4,096 tokens take 20.5 billion multiply-adds a matrix in place of 9.7",
    ),
    Claim(
        "mpoe-fig2-ratio",
        "Eight experts that share the centre hold 0.19 of what eight separate ones hold (gamma = 12).",
        says="0.19",
    ),
    Claim(
        "mpoe-fig2-more-experts",
        "The more experts, the smaller the share of the numbers of separate ones.",
        says="'such a ratio will be further decreased when we have more experts'",
        note="counted on whole models, of which experts are a part: of experts alone it is 0.19 at eight",
    ),
    Claim(
        "mpoe-fig2-gamma",
        "gamma, about 12, is the ratio of the auxiliary tensors to the central one.",
        says="'the parameter ratio of the auxiliary tensor to the central tensor', 'the ratio [...] is about 12'",
        note="the formulas behind it have it the other way round, and so has this package",
    ),
    Claim(
        "mpoe-fig2-same",
        "With the centre fixed, auxiliary tensors can become every matrix.",
        says="'only tuning the auxiliary tensors (keeping the central tensor fixed) can lead to the same effect as "
        "tuning the whole matrix'",
        note="the same effect is taken to be that every matrix can be reached; whether the effect on a task can be the "
        "same is another matter",
    ),
    Claim(
        "mpoe-fig2-apart",
        "Most of what experts learn lies in directions of the auxiliary tensors.",
        says="'the central tensors of different experts [...] are likely to be very similar'",
        note="the paper calls it a speculation. Centres have no basis of their own: at full bonds every expert's "
        "auxiliary tensors can be turned into those of another, and its centre is then as far from the other's as its "
        "matrix is. What sharing needs is that experts differ in directions of the auxiliary tensors; to first order, "
        "and with a half as the threshold, is this project's reading",
    ),
    Claim(
        "mpoe-tab1-averages",
        "The averages are the means of their rows (T5).",
        in_column("mpoe-tab1-nlu", "Avg.", "T5-Large +MPOE", "T5-Base +MPOE"),
    ),
    Claim(
        "mpoe-tab1-sizes",
        "T5-large, T5-base and GPT-2 hold 737, 223 and 124 M parameters.",
        ("mpoe-tab1-nlu | T5-Large | #To", "mpoe-tab1-nlu | T5-Base | #To", "mpoe-tab1-nlg | GPT-2 | #To"),
        unit="M",
    ),
    Claim(
        "mpoe-tab1-count-t5",
        "With 8 and 16 experts that share centres T5-base has 294 and 365 M parameters.",
        in_column("mpoe-tab1-nlu", "#To", "T5-Base +MPOE", "T5-Base +MPOE++"),
        unit="M",
    ),
    Claim(
        "mpoe-tab1-count-t5-copies",
        "With 8 separate experts T5-base has 1015 M parameters.",
        ("mpoe-tab1-nlu | T5-Base +MoE | #To",),
        unit="M",
    ),
    Claim(
        "mpoe-tab1-count-t5-large",
        "With 8 experts that share centres T5-large has 956 M parameters.",
        ("mpoe-tab1-nlu | T5-Large +MPOE | #To",),
        unit="M",
    ),
    Claim(
        "mpoe-tab1-count-gpt2",
        "With 8 experts GPT-2 has 578 M parameters, and 157 M if they share centres.",
        in_column("mpoe-tab1-nlg", "#To", "+MoE", "+MPOE"),
        unit="M",
        note="only with nine copies of the feed-forward block, where T5's rows need eight",
    ),
    Claim(
        "mpoe-tab1-count-gpt2-16",
        "With 16 experts that share centres GPT-2 has 171 M parameters.",
        ("mpoe-tab1-nlg | +MPOE++ | #To",),
        unit="M",
        note="171 M is twelve experts",
    ),
    Claim(
        "mpoe-tab1-same-experts",
        "MPOE and the models beside it have the same number of experts, eight.",
        ("mpoe-tab1-nlu | T5-Base +Switch (Fedus et al.) | #To", "mpoe-tab1-nlu | T5-Large +Switch | #To"),
        unit="M",
        says="'we maintain the same number (n = 8) of experts for baselines and MPOE'",
        note="Switch's best averages are those of other experts, and the 27.2 times fewer parameters are fewer than "
        "theirs",
    ),
    Claim(
        "mpoe-tab1-27", "By the printed sizes, 27.2 times fewer parameters than Switch at T5-large's size.", says="27.2"
    ),
    Claim("mpoe-tab1-37", "By the printed sizes, 3.7 times fewer parameters than Switch on GPT-2.", says="3.7"),
    Claim(
        "mpoe-tab1-variants",
        "MPOE is better than every other mixture of experts in the table.",
        in_column("mpoe-tab1-nlu", "Avg.", "T5-Base +MPOE", "T5-Base +Switch (Fedus et al.)"),
        says="'compared to these MoE variants, our proposed MPOE approach achieves performance improvement'",
        note="by averages, and by perplexity and BLEU; MPOE++, of sixteen experts, has 86.78",
    ),
    Claim(
        "mpoe-tab1-variants-size",
        "MPOE has fewer parameters than every other mixture of experts in the table.",
        in_column("mpoe-tab1-nlu", "#To", "T5-Large +MPOE", "T5-Large +MoEfication"),
        unit="M",
        says="'while being more parameter-efficient'",
    ),
    Claim(
        "mpoe-tab1-low-resource",
        "By the printed scores, the gains on CoLA and MRPC are larger than those on sets with many rows.",
        says="'zooming into low-resource datasets such as CoLA and MRPC, our approach yields more significant "
        "improvements'",
        note="many is 10,000 or more; of the other two small sets, RTE loses 0.40 to Switch and STS-B gains 0.01",
    ),
    Claim(
        "mpoe-tab1-bleu",
        "By the printed scores, the gain in BLEU-2 on EMNLP News is 1.72 over MoE and 2.37 over Switch.",
        in_column("mpoe-tab1-nlg", "EMNLP/BLEU-2", "+MPOE", "+MoE", "+Switch"),
        says="+1.72, +2.37",
    ),
    Claim(
        "mpoe-tab1-diversity",
        "Self-BLEU is among the gains over GPT-2.",
        in_column("mpoe-tab1-nlg", "EMNLP/Self-BLEU-2", "+MPOE", "GPT-2"),
        note="a higher Self-BLEU is less diverse text",
    ),
    Claim(
        "mpoe-tab1-more-experts-print",
        "MPOE++ is better than MPOE in every average and in every score on WikiText-2.",
        in_column("mpoe-tab1-nlg", "PPL", "+MPOE++", "+MPOE"),
    ),
    Claim(
        "mpoe-tab1-t5",
        "Experts that share centres score above separate ones (Switch) on GLUE.",
        in_column("mpoe-tab1-nlu", "Avg.", "T5-Base +MPOE", "T5-Base +Switch"),
    ),
    Claim(
        "mpoe-tab1-t5-moe",
        "Experts that share centres score above a mixture of separate ones (MoE) on GLUE.",
        in_column("mpoe-tab1-nlu", "Avg.", "T5-Base +MPOE", "T5-Base +MoE"),
    ),
    Claim(
        "mpoe-tab1-t5-moefication",
        "Experts that share centres score above the dense T5's own neurons in clusters (MoEfication) on GLUE.",
        in_column("mpoe-tab1-nlu", "Avg.", "T5-Large +MPOE", "T5-Large +MoEfication"),
        note="MoEfication++, which the paper takes from its authors, has 87.13",
    ),
    Claim(
        "mpoe-tab1-t5-dense",
        "Experts that share centres score above the dense T5 on GLUE.",
        in_column("mpoe-tab1-nlu", "Avg.", "T5-Base +MPOE", "T5-Base"),
    ),
    Claim(
        "mpoe-tab1-gpt2",
        "Experts that share centres have a lower perplexity than separate ones (Switch).",
        in_column("mpoe-tab1-nlg", "PPL", "+MPOE", "+Switch"),
    ),
    Claim(
        "mpoe-tab1-gpt2-moe",
        "Experts that share centres have a lower perplexity than a mixture of separate ones (MoE).",
        in_column("mpoe-tab1-nlg", "PPL", "+MPOE", "+MoE"),
    ),
    Claim(
        "mpoe-tab1-gpt2-dense",
        "Experts that share centres have a lower perplexity than the dense GPT-2.",
        in_column("mpoe-tab1-nlg", "PPL", "+MPOE", "GPT-2"),
    ),
    Claim(
        "mpoe-tab1-news",
        "On EMNLP News, experts that share centres write with a higher BLEU-2 than separate ones (MoE and Switch).",
        in_column("mpoe-tab1-nlg", "EMNLP/BLEU-2", "+MPOE", "+MoE", "+Switch"),
        note="how long texts are, how they are drawn and what their references are is not printed",
    ),
    Claim(
        "mpoe-tab1-reviews",
        "On IMDB, experts that share centres write with a higher BLEU-2 than separate ones (MoE and Switch).",
        in_column("mpoe-tab1-nlg", "IMDB/BLEU-2", "+MPOE", "+MoE", "+Switch"),
    ),
    Claim(
        "mpoe-tab1-more-experts",
        "Sixteen experts write with a higher BLEU-2 than eight.",
        in_column("mpoe-tab1-nlg", "WikiText-2/BLEU-2", "+MPOE++", "+MPOE"),
    ),
    Claim(
        "mpoe-tab2-averages",
        "The averages are the means of their rows.",
        in_column("mpoe-tab2", "Avg.", "T5-Base", "Hyperformer", "+MPOE"),
    ),
    Claim(
        "mpoe-tab2-every-task",
        "By the printed scores, MPOE is above the Hyperformer in every task.",
        in_column("mpoe-tab2", "Avg.", "+MPOE", "Hyperformer"),
    ),
    Claim(
        "mpoe-tab2-count",
        "MPOE has 258 M parameters.",
        ("mpoe-tab2 | +MPOE | #To",),
        unit="M",
        note="with four experts; Table 1 has eight",
    ),
    Claim(
        "mpoe-tab2-dense",
        "Trained on several tasks at once, MPOE scores above the dense T5.",
        in_column("mpoe-tab2", "Avg.", "+MPOE", "T5-Base"),
    ),
    Claim(
        "mpoe-tab3-count-unshared",
        "Without sharing MPOE has 153 M parameters.",
        ("mpoe-tab3 | w/o PS | #To",),
        unit="M",
        note="153 M are eight experts that do share, where the rows with 157 M count nine",
    ),
    Claim(
        "mpoe-tab3-sharing",
        "Without sharing the perplexity is higher.",
        in_column("mpoe-tab3", "PPL", "+MPOE", "w/o PS"),
    ),
    Claim(
        "mpoe-tab3-mask",
        "The gradient mask helps: without it the perplexity is higher.",
        in_column("mpoe-tab3", "PPL", "+MPOE", "w/o GM"),
    ),
    Claim(
        "mpoe-tab3-important",
        "Sharing is more important than the gradient mask: without it the perplexity is higher than without the mask.",
        in_column("mpoe-tab3", "PPL", "w/o GM", "w/o PS"),
    ),
    Claim(
        "mpoe-tab4-counts",
        "With m = 3, 5, 7 and 9 tensors GPT-2 has 130.3, 157.4, 198.7 and 214.6 M parameters.",
        in_column("mpoe-tab4", "#To", "MPOE (m=3)", "MPOE (m=5)", "MPOE (m=7)", "MPOE (m=9)"),
        unit="M",
    ),
    Claim(
        "mpoe-tab4-variants",
        "The table has three variants of MPOE.",
        says="'We present three variants of MPOE'",
    ),
    Claim(
        "mpoe-tab4-same-model",
        "MPOE with m = 5 is the model of Tables 1 and 3.",
        ("mpoe-tab4 | MPOE (m=5) | B2", "mpoe-tab3 | +MPOE | B2"),
    ),
    Claim(
        "mpoe-tab4-superior-print",
        "With m > 3 all scores are above GPT-2's.",
        in_column("mpoe-tab4", "B2", "MPOE (m=9)", "GPT-2"),
    ),
    Claim(
        "mpoe-tab4-superior",
        "With m > 3 the perplexity is below GPT-2's.",
        in_column("mpoe-tab4", "PPL", "MPOE (m=5)", "MPOE (m=7)", "MPOE (m=9)", "GPT-2"),
    ),
    Claim(
        "mpoe-tab4-memory",
        "More tensors cost more memory.",
        in_column("mpoe-tab4", "#To", "MPOE (m=5)", "MPOE (m=7)", "MPOE (m=9)"),
        unit="M",
        says="'more local tensors performs similarly but leads to higher memory cost'",
        note="as far as memory is that of the parameters",
    ),
    Claim(
        "mpoe-tab4-m3",
        "Five tensors have a lower perplexity than three.",
        in_column("mpoe-tab4", "PPL", "MPOE (m=5)", "MPOE (m=3)"),
    ),
    Claim(
        "mpoe-tab4-more",
        "Seven and nine tensors perform like five.",
        in_column("mpoe-tab4", "PPL", "MPOE (m=5)", "MPOE (m=7)", "MPOE (m=9)"),
    ),
)
