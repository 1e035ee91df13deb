"""The words of the small English grammar, one table per word class; a new word is one new entry.

    "help=assist"   a synonym: the same meaning under another name
    "poet<writer"   a hypernym: every poet is a writer; a chain may go on ("sprint<run", "run<move")

Almost every word is a single piece of BERT's vocabulary. Forms are made by rule, exceptions stand in a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

# ------------------------------------------------------------------------------------------------------------- nouns

# Each line is a kind of noun; what a verb asks of its subject and object are kinds or hypernyms.
NOUN_TABLE = {
    "person": """
        doctor lawyer teacher farmer soldier nurse baker pilot sailor driver judge guard waiter tailor manager engineer
        student artist painter<artist sculptor<artist musician singer<musician pianist<musician violinist<musician
        drummer<musician writer poet<writer novelist<writer journalist<writer scientist chemist<scientist
        physicist<scientist biologist<scientist athlete runner<athlete swimmer<athlete boxer<athlete child girl<child
        boy<child man woman""",
    "animal": """
        dog puppy<dog cat kitten<cat horse pony<horse cow goat lion tiger wolf snake rabbit fox bear mouse monkey
        elephant bird sparrow<bird eagle<bird crow<bird owl<bird hawk<bird""",
    "thing": """
        fruit apple<fruit orange<fruit banana<fruit pear<fruit lemon<fruit cherry<fruit vehicle car<vehicle
        truck<vehicle bus<vehicle bicycle<vehicle van<vehicle instrument piano<instrument violin<instrument
        guitar<instrument drum<instrument trumpet<instrument flute<instrument tool hammer<tool knife<tool flower
        rose<flower lily<flower book novel<book dictionary<book garment coat<garment shirt<garment
        hat<garment dress<garment jacket<garment container box<container basket<container bottle<container
        bag<container letter ring key lamp picture map toy ball chair table clock mirror""",
}
PLURALS = {"person": "people", "man": "men", "woman": "women", "child": "children", "mouse": "mice",
           "knife": "knives",
           "wolf": "wolves"}  # fmt: skip
KINDS = ("person", "animal", "thing")
GENDER = {"man": "he", "boy": "he", "woman": "she", "girl": "she"}

HE = ("John", "Peter", "David", "Paul", "James", "Robert", "Thomas", "Daniel", "Henry", "Oliver")
SHE = ("Anna", "Mary", "Susan", "Laura", "Helen", "Emma", "Alice", "Sarah", "Julia", "Clara")
NAMES = HE + SHE


@dataclass(frozen=True, eq=False, slots=True)
class Noun:
    """kind: one of KINDS. above: all hypernyms, the nearest first, the kind itself last."""

    word: str
    plural: str
    kind: str
    above: tuple[str, ...]


def plural(word: str) -> str:
    if word in PLURALS:
        return PLURALS[word]
    return word[:-1] + "ies" if word.endswith("y") and word[-2] not in "aeiou" else add_s(word)


def add_s(word: str) -> str:
    return word + ("es" if word.endswith(("s", "x", "z", "ch", "sh", "o")) and word != "piano" else "s")


def _entries(table: str) -> Iterator[tuple[str, str | None, str | None]]:
    """(word, synonym, hypernym) of each entry of a table's string."""
    for entry in table.split():
        entry, _, above = entry.partition("<")
        word, _, same = entry.partition("=")
        yield word, same or None, above or None


def _make_nouns() -> dict[str, Noun]:
    nouns: dict[str, Noun] = {}
    for kind, table in NOUN_TABLE.items():
        nouns[kind] = Noun(kind, plural(kind), kind, ())
        for word, _, above in _entries(table):
            chain = (above, *nouns[above].above) if above else (kind,)
            nouns[word] = Noun(word, plural(word), kind, chain)
    return nouns


NOUNS = _make_nouns()
"""Every noun by its singular, the kinds ("person", "animal", "thing") among them."""


@cache
def nouns_of(kinds: tuple[str, ...]) -> tuple[Noun, ...]:
    """The nouns that fall under any of these kinds or hypernyms, the kinds' own names left out."""
    return tuple(
        noun
        for noun in NOUNS.values()
        if noun.word not in KINDS and (noun.word in kinds or any(above in kinds for above in noun.above))
    )


@cache
def below(word: str) -> tuple[str, ...]:
    """All hyponyms of a noun."""
    return tuple(noun.word for noun in NOUNS.values() if word in noun.above)


# ------------------------------------------------------------------------------------------------------------- verbs

# (frame, subject kinds, object kinds) -> verbs.
VERB_TABLE: dict[tuple[str, tuple[str, ...], tuple[str, ...]], str] = {
    ("intransitive", ("person",), ()): """
        laugh smile cry=weep arrive wait dance sing fall swim jump=leap work travel shout=yell cough complain
        vanish=disappear pray rest speak whisper<speak giggle<laugh waltz<dance nap<sleep sleep move run<move
        sprint<run walk<move stroll<walk crawl<move""",
    ("intransitive", ("animal",), ()): "sleep move run<move walk<move jump=leap fall wait drink bark growl",
    ("transitive", ("person",), ("person",)): """
        help=assist thank praise=compliment blame visit call=phone follow chase=pursue<follow hire=employ teach
        interview=question trust admire=respect insult rescue=save push=shove watch=observe warn defeat=beat
        trick=fool ignore invite photograph recognize protect=guard kick hit slap<hit punch<hit""",
    ("transitive", ("person",), ("animal",)): "feed train chase=pursue<follow follow catch=capture sketch<draw draw "
    "photograph watch=observe rescue=save buy=purchase<acquire acquire sell find=discover wash",
    ("transitive", ("animal",), ("animal",)): "chase=pursue<follow follow bite watch=observe hear scare",
    ("transitive", ("person",), ("thing",)): """
        carry buy=purchase<acquire acquire take steal<take grab<take find=discover lose hide=conceal drop
        lift=raise throw=toss paint clean scrub<clean examine=inspect borrow choose=select sell describe deliver
        destroy collect=gather draw sketch<draw pull drag<pull move""",
    ("transitive", ("person",), ("vehicle", "instrument", "clock", "lamp", "chair", "table")): "repair=fix",
    ("transitive", ("person",), ("fruit",)): "eat peel",
    ("ditransitive", ("person",), ("thing",)): "give send show offer lend hand",
}
NO_OBJECT = ("laugh", "smile", "arrive", "wait", "cough", "complain", "vanish", "disappear", "sleep", "fall", "giggle")
"""Verbs that never take an object: with one, a sentence is unacceptable."""
NEEDS_OBJECT = ("thank", "blame", "admire", "rescue", "defeat", "ignore", "invite", "recognize", "employ", "respect",
                "carry", "acquire", "take", "lift", "throw", "examine", "describe", "destroy", "repair", "discover",
                "chase", "trick", "scare")  # fmt: skip
"""Transitive verbs that never go without their object. ("The judge helped." is fine, so "help" is not here.)"""

IRREGULAR = {  # past, participle
    "weep": "wept wept", "sing": "sang sung", "fall": "fell fallen", "swim": "swam swum", "leap": "leapt leapt",
    "speak": "spoke spoken", "sleep": "slept slept", "run": "ran run", "teach": "taught taught", "hear": "heard heard",
    "beat": "beat beaten", "hit": "hit hit", "feed": "fed fed", "catch": "caught caught", "draw": "drew drawn",
    "buy": "bought bought", "sell": "sold sold", "find": "found found", "bite": "bit bitten", "drink": "drank drunk",
    "take": "took taken", "steal": "stole stolen", "lose": "lost lost", "hide": "hid hidden", "throw": "threw thrown",
    "choose": "chose chosen", "eat": "ate eaten", "give": "gave given", "send": "sent sent", "show": "showed shown",
    "lend": "lent lent", "be": "was been", "have": "had had", "do": "did done", "win": "won won", "read": "read read",
    "leave": "left left", "forget": "forgot forgotten", "write": "wrote written", "break": "broke broken",
}  # fmt: skip
DOUBLED = ("drop", "scrub", "hit", "slap", "grab", "drag", "nap", "swim", "run", "win", "forget")


@dataclass(frozen=True, eq=False, slots=True)
class Verb:
    """frame: intransitive, transitive or ditransitive. same: a synonym, or None. above: hypernyms, nearest first.

    subjects, objects: kinds (or hypernyms) of nouns that fit.
    """

    base: str
    past: str
    participle: str
    third: str
    gerund: str
    frame: str = "transitive"
    subjects: tuple[str, ...] = ("person",)
    objects: tuple[str, ...] = ()
    same: str | None = None
    above: tuple[str, ...] = ()


@cache
def forms(base: str) -> tuple[str, str, str, str]:
    """(past, participle, third person singular, gerund) of a verb."""
    third = base[:-1] + "ies" if base.endswith("y") and base[-2] not in "aeiou" else add_s(base)
    stem = base + base[-1] if base in DOUBLED else base
    gerund = (base[:-1] if base.endswith("e") and base != "be" else stem) + "ing"
    if base in IRREGULAR:
        past, participle = IRREGULAR[base].split()
    elif base.endswith("y") and base[-2] not in "aeiou":
        past = participle = base[:-1] + "ied"
    else:
        past = participle = base + "d" if base.endswith("e") else stem + "ed"
    return past, participle, {"be": "is", "have": "has"}.get(base, third), gerund


def make_verb(base: str, **features: object) -> Verb:
    return Verb(base, *forms(base), **features)


def _make_verbs() -> tuple[Verb, ...]:
    verbs = []
    for (frame, subjects, objects), table in VERB_TABLE.items():
        parents = {word: above for word, _, above in _entries(table)}
        for word, same, above in _entries(table):
            chain = []
            while above:
                chain.append(above)
                above = parents.get(above)
            verbs.append(
                make_verb(word, frame=frame, subjects=subjects, objects=objects, same=same, above=tuple(chain))
            )
    return tuple(verbs)


VERBS = _make_verbs()
"""One entry for each frame that a verb has ("move" has two)."""


@cache
def verbs_of(
    frames: tuple[str, ...] = ("transitive",), subject: str | None = None, objects: str | None = None
) -> tuple[Verb, ...]:
    """The verbs with one of these frames, for subjects and objects of these kinds (None: any)."""
    return tuple(
        verb
        for verb in VERBS
        if verb.frame in frames
        and (subject is None or subject in verb.subjects)
        and (objects is None or objects in verb.objects)
    )


def synonym(verb: Verb) -> Verb:
    """The verb's synonym with the same frame, or the verb itself where it has none."""
    if verb.same is None:
        return verb
    return make_verb(
        verb.same, frame=verb.frame, subjects=verb.subjects, objects=verb.objects, same=verb.base, above=verb.above
    )


# -------------------------------------------------------------------------------------------------------- adjectives

ADJECTIVES: dict[str, str] = {
    "person": "happy=glad sad angry kind brave clever=smart famous rich poor tired hungry lazy proud nervous quiet "
    "young old tall short strong weak",
    "animal": "hungry tired wet dirty clean black white brown young old strong weak quiet wild angry",
    "thing": "heavy light clean dirty wet dry cheap expensive=costly wooden empty new old red blue green black white "
    "yellow brown broken small=little large=big",
}
ADJECTIVES_OF = {kind: tuple(word for word, _, _ in _entries(table)) for kind, table in ADJECTIVES.items()}
SAME_ADJECTIVE = {word: same for table in ADJECTIVES.values() for word, same, _ in _entries(table) if same}

# Adjectives whose meaning does not depend on the noun (a wet cow is a wet animal; a small elephant is no small animal).
INTERSECTIVE = {
    "person": ("wet", "dirty", "tired", "hungry", "angry", "famous"),
    "animal": ("wet", "dirty", "clean", "black", "white", "brown", "hungry", "tired"),
    "thing": ("wet", "dry", "clean", "dirty", "wooden", "broken", "red", "blue", "green", "black", "white", "yellow"),
}
COLOURS = ("red", "blue", "green", "black", "white", "yellow", "brown")
OPPOSITES = (("wet", "dry"), ("clean", "dirty"))


def disjoint(one: str, other: str) -> bool:
    """Whether nothing can be both: two colours, or opposites."""
    return one != other and (
        (one in COLOURS and other in COLOURS) or (one, other) in OPPOSITES or (other, one) in OPPOSITES
    )


# ------------------------------------------------------------------------------------------------- places and times

PLACES = tuple(
    "in the park|in the garden|in the kitchen|in the market|in the library|at the station|at the school|"
    "in the hospital|in the museum|at the harbor|in the village|in the office|in the castle|in the church|"
    "at the hotel|in the theater|in the cellar|in the forest|near the river|on the bridge|in London|in Paris|"
    "in Berlin|in Rome|in Madrid|in Dublin".split("|")
)
COUNTRY = {"in London": "in England", "in Paris": "in France", "in Berlin": "in Germany", "in Rome": "in Italy",
           "in Madrid": "in Spain", "in Dublin": "in Ireland"}  # fmt: skip
DAYS = tuple(f"on {day}" for day in "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
MONTHS = tuple(
    f"in {month}"
    for month in "January February March April June July August September October November December".split()
)
YEARS = tuple(f"in {year}" for year in range(1960, 2000))
TIMES = (*DAYS, *MONTHS, "yesterday", "last week", "last month", "last year", "last night")
ADVERBS = tuple("quickly slowly quietly carefully secretly suddenly politely proudly".split())

# -------------------------------------------------------------------------------------------------------- sentiment

PRAISE = tuple(
    "wonderful brilliant charming delightful superb excellent funny moving clever fresh beautiful touching lovely "
    "fascinating enjoyable memorable elegant great thrilling witty powerful honest exciting inspired perfect amazing "
    "remarkable impressive graceful intelligent".split()
)
BLAME = tuple(
    "dull boring awful terrible weak silly ugly stale annoying stupid lame messy cheap predictable painful horrible "
    "clumsy hopeless pointless shallow bland ridiculous lazy empty noisy confused hollow miserable worthless "
    "pathetic".split()
)
ASPECTS = tuple(
    "acting plot story script music dialogue ending photography cast humor pacing direction hero editing scenery "
    "song performance opening villain romance production soundtrack animation narrative finale camera".split()
)
WHOLES = tuple("film movie picture show drama comedy".split())


def article(word: str) -> str:
    """ "a" or "an" before this word."""
    return "an" if (word[0].lower() in "aeiou" and not word.startswith("uni")) or word.startswith("hon") else "a"


def content_words() -> Sequence[str]:
    """Every content word of the grammar, for counting."""
    words: dict[str, None] = dict.fromkeys(NOUNS)
    for verb in VERBS:
        words |= dict.fromkeys([verb.base, *([verb.same] if verb.same else []), *verb.above])
    for table in ADJECTIVES_OF.values():
        words |= dict.fromkeys(table)
    words |= dict.fromkeys([*SAME_ADJECTIVE.values(), *ADVERBS, *NAMES, *PRAISE, *BLAME, *ASPECTS, *WHOLES])
    return tuple(words)
