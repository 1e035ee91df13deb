"""Tables 1, 3, 4 and 5 of MPOP (Liu et al. 2021) as printed, and the expressions of Table 2. Scores in per cent, sizes
in millions of parameters.
"""

from __future__ import annotations

from .table import PrintedTable, read

GLUE = ("SST-2", "MNLI", "QNLI", "CoLA", "STS-B", "QQP", "MRPC", "RTE", "WNLI")
"""The nine tasks of Table 3; its "Score" is their mean."""

COMPLEXITIES: dict[str, str] = {
    "Tucker (d=1, CP)": "n m d^2",
    "Tucker (d>1)": "n m d + d^n",
    "MPO (n=2, SVD)": "2 m d^3",
    "MPO (n>2)": "n m d^3",
}
"""Table 2, inference time: n tensors, m the largest i_k, d the largest bond. What they come to: `cost.table_2`."""

TABLES: tuple[PrintedTable, ...] = (
    read(
        "mpop-tab1",
        "Shares of BERT's parameters by how far fine-tuning on SST-2 moves them",
        "(0,1e-4] (1e-4,1e-3] (1e-3,inf)",
        """
        Word embedding 0.66 0.26 0.09
        Feed-forward 0.09 0.64 0.27
        Self-attention 0.09 0.64 0.27
        """,
        notes={
            "": "neither learning rate nor number of updates is given, and the shares depend on both first of all",
            "Word embedding": "its shares add up to 1.01",
        },
    ),
    read(
        "mpop-tab3",
        "GLUE, development sets (ALBERT)",
        " ".join(("Score", *GLUE, "#Pr", "#To")),
        """
        ALBERT_pub - 90.3 81.6 - - - - - - - 11.6 11.6
        ALBERT_rep 78.9 90.6 84.5 89.4 53.4 88.2 89.1 88.5 71.1 54.9 11.6 11.6
        MPOP 79.7 90.8 83.3 90.5 54.7 89.2 89.4 89.2 73.3 56.3 1.1 9
        MPOP_full 80.3 92.2 84.4 91.4 55.7 89.2 89.6 87.3 76.9 56.3 12.7 12.7
        MPOP_full+LFA 80.4 93.0 84.3 91.3 56.0 89.2 89.0 88.0 78.3 56.3 1.2 12.7
        MPOP_dir 68.6 86.6 79.2 81.9 15.0 82.5 87.0 74.3 54.2 56.3 1.1 9
        """,
        GLUE,
        {
            "": "WNLI 56.3 is the share of its majority class, 40 of 71 rows",
            "MPOP": "the mean of its row is 79.63; 1.1 M trained and 9 M in all are not reached together",
            "MPOP_full+LFA": "the mean of its row is 80.60",
        },
    ),
    read(
        "mpop-tab4",
        "Other models than ALBERT",
        "WNLI MRPC RTE #Pr #To",
        """
        BERT 56.3 85.5 70.0 110 110
        MPOP_B 56.3 84.3 70.8 7.7 70.4
        DistilBERT 56.3 84.1 61.4 66 66
        MPOP_D 56.3 84.3 61.7 4.0 43.4
        MobileBERT 56.2 86.0 63.5 25.3 25.3
        MPOP_M 56.2 85.3 65.7 4.4 15.4
        """,
        notes={
            "": "many settings of the caps give these counts; none is printed",
            "MobileBERT": "no number of right answers to 71 rows makes 56.2; the released model holds 24.8 M",
            "MPOP_M": "no number of right answers to 71 rows makes 56.2",
        },
    ),
    read(
        "mpop-tab5",
        "Only the last layers of BERT",
        "SST-2 MRPC RTE #Pr",
        """
        BERT_10-12 91.9 76.5 67.2 45.7
        BERT_11-12 91.7 75.3 62.8 38.6
        BERT_12 91.4 72.1 61.4 31.5
        MPOP_B 92.6 84.3 70.8 10.1
        """,
        notes={
            "": "#Pr of the last layers counts 23.8 M numbers of the embeddings as trained",
            "MPOP_B": "MRPC and RTE are those of Table 4, where #Pr is 7.7",
        },
    ),
)
