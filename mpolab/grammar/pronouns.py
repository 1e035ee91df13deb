"""WNLI offline: whom does the pronoun mean? Schemas after Winograd, where one word decides.

    Anna could not lift Mary because she was so weak.    -> Anna was so weak.
    Anna could not lift Mary because she was so heavy.   -> Mary was so heavy.

Who takes part is drawn at random and either of the two may be meant, so that neither names nor words give it away.
"""

from __future__ import annotations

from . import lexicon as words
from .facts import Speaker

# (who takes part, sentence with {A}, {B} and {pronoun} {why}, reasons that speak of A, reasons that speak of B)
SCHEMAS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("people", "{A} could not lift {B} because", ("was so weak", "was not strong"), ("was so heavy", "was too heavy")),
    ("people", "{A} thanked {B} because", ("had received help", "had been helped"), ("had given help", "had helped")),
    ("people", "{A} lost the race against {B} because", ("was so slow",), ("was so fast",)),
    ("people", "{A} won the race against {B} because", ("was so fast",), ("was so slow",)),
    ("people", "{A} asked {B} for money because", ("was poor", "had no money"), ("was rich", "had much money")),
    ("people", "{A} could not see the stage behind {B} because", ("was too short",), ("was too tall",)),
    ("people", "{A} paid {B} after {pronoun_}had", ("received the bill",), ("done the work", "repaired the car")),
    ("people", "{A} followed {B} because", ("did not know the way",), ("knew the way",)),
    ("people", "{A} envied {B} because", ("had lost the game", "had lost"), ("had won the game", "had won")),
    ("people", "{A} sold the house to {B} because", ("needed money",), ("needed a home", "needed a house")),
    ("people", "{A} taught {B} to swim because", ("was a good swimmer", "swam so well"), ("was a bad swimmer",)),
    ("people", "{A} hid from {B} because", ("was afraid", "was scared"), ("was dangerous", "had a knife")),
    ("people", "{A} carried {B} home because", ("was very strong",), ("was very tired", "had broken a leg")),
    ("people", "{A} apologized to {B} because", ("had been rude",), ("had been insulted", "felt insulted")),
    ("people", "{A} cooked for {B} because", ("was a good cook",), ("was very hungry", "had not eaten")),
    ("people", "{A} borrowed a pen from {B} because", ("had none", "had lost one"), ("had two", "had several")),
    ("people", "{A} copied the answers of {B} because", ("was lazy", "had not studied"), ("was clever",)),
    ("people", "{A} did not hear {B} because", ("was almost deaf", "was asleep"), ("spoke so quietly",)),
    ("people", "{A} forgave {B} because", ("was kind",), ("was sorry", "had apologized")),
    ("people", "{A} hired {B} because", ("needed a worker", "needed help"), ("needed a job", "was looking for work")),
    ("things", "{A} did not fit into {B} because", ("was too big", "was too large"), ("was too small",)),
    ("things", "{A} fitted into {B} because", ("was small", "was so small"), ("was big", "was so large")),
    ("things", "{A} broke {B} because", ("was so heavy", "was too heavy"), ("was so thin", "was too weak")),
    ("things", "{A} scratched {B} because", ("was so sharp", "was sharp"), ("was so soft", "was soft")),
    ("things", "we could not hide {A} behind {B} because", ("was too big",), ("was too small",)),
    ("things", "we put {A} under {B} because", ("was so strong", "was strong"), ("was so light", "was light")),
    ("things", "we bought {A} rather than {B} because", ("was cheap",), ("was expensive", "cost too much")),
    ("things", "we replaced {A} with {B} because", ("was old", "was broken"), ("was new",)),
    ("things", "we used {A} instead of {B} because", ("was clean",), ("was dirty", "was broken")),
    ("animals", "{A} did not catch {B} because", ("was too slow",), ("was too fast",)),
    ("animals", "{A} ate {B} because", ("was hungry", "had found no other food"), ("was easy to catch",)),
    ("animals", "{A} ran away from {B} because", ("was afraid", "was scared"), ("was dangerous", "looked dangerous")),
    ("animals", "{A} bit {B} because", ("was angry", "felt angry"), ("came too close",)),
)


def resolved(speaker: Speaker, right: bool) -> tuple[str, str]:
    """(sentence, hypothesis): the clause with the pronoun, the pronoun replaced by the right one or the other one."""
    dice = speaker.dice
    while True:
        place = dice.below(len(SCHEMAS))
        kind, frame, first, second = SCHEMAS[place]
        a, b, pronoun = _two(speaker, kind)
        if speaker.owns(str(place), a, b):
            break
    meant = dice.chance(0.5)  # A is meant
    reason = dice.one(first if meant else second)
    said = frame.format(A=a, B=b, pronoun_=f"{pronoun} ")
    after = frame.rpartition("{pronoun_}")[2] if "{pronoun_}" in frame else None
    sentence = f"{said} {reason}." if after else f"{said} {pronoun} {reason}."
    who = a if meant == right else b
    return _capital(sentence), _capital(f"{who} {after + ' ' if after else ''}{reason}.")


def _two(speaker: Speaker, kind: str) -> tuple[str, str, str]:
    """Two participants that one pronoun fits, and the pronoun."""
    dice = speaker.dice
    if kind != "people":
        noun = {"things": "thing", "animals": "animal"}[kind]
        one, two = dice.several(words.nouns_of((noun,)), 2)
        return f"the {one.word}", f"the {two.word}", "it"
    gender = dice.chance(0.5)
    if dice.chance(0.5):
        one, two = dice.several(words.HE if gender else words.SHE, 2)
        return one, two, "he" if gender else "she"
    people = [noun for noun in words.nouns_of(("person",)) if noun.word not in words.GENDER]
    one, two = dice.several(people, 2)
    return f"the {one.word}", f"the {two.word}", "he" if gender else "she"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
