"""An invented four-topic newswire in which the words that carry each story's topic are known.

Keywords alone do not settle a topic here: cues of a rival topic are quoted, denied, withdrawn, used as a
metaphor, printed in a by-line or mentioned aside. The topic is what the story's main clause reports as fact.
Both draw on one vocabulary, `CUES`, so that only the role of a word tells evidence from distraction.
"""

import random
import re
from dataclasses import dataclass

from datasets import ClassLabel, Dataset, Features, Sequence, Value


WORDS_PER_STORY = (20, 45)
DISTRACTED_SHARE = 0.83


@dataclass(frozen=True)
class Story:
    """One news item; `evidence` holds the (start, end) spans of `text` that carry the topic `label`."""

    text: str
    label: int
    evidence: tuple[tuple[int, int], ...]


def _listed(names: str) -> tuple[str, ...]:
    return tuple(names.split(", "))


class Scene:
    """A corner of a topic whose agents, actions and things combine freely.

    Actions hold their cues in [brackets]; several topics share the words outside, which so betray none.
    """

    def __init__(self, field: str, agents: str, actions: str, things: str) -> None:
        self.field = field
        self.agents, self.actions, self.things = _listed(agents), _listed(actions), _listed(things)
        self.cues = {field, *self.agents, *self.things, *re.findall(r"\[(.+?)]", actions)}


SCENES: dict[str, tuple[Scene, ...]] = {
    "World": (
        Scene(
            "diplomacy",
            "foreign minister, ambassador, peace envoy, diplomat",
            "broke the [treaty], left the [peace talks], dropped the [sanctions] against the [regime], "
            "opened an [embassy], offered a [truce] to the [rebels], tested the [ceasefire]",
            "summit, state visit, hostage exchange, border crisis",
        ),
        Scene(
            "politics",
            "prime minister, opposition leader, senator, lawmaker",
            "closed the [parliament], lost a [confidence vote], won the [referendum] on the [constitution], "
            "saved the [coalition], corrected the [electoral roll], called for a [snap election]",
            "presidential runoff, palace coup, state funeral, filibuster",
        ),
        Scene(
            "peacekeeping",
            "rebel commander, army general, militia leader, peacekeeper",
            "moved the [troops] to the [frontier], raised the [blockade], released the [hostages], took the "
            "[outpost], lost a [battalion], reported [insurgents] near the [garrison]",
            "siege, military parade, prisoner swap, border skirmish",
        ),
        Scene(
            "foreign aid",
            "relief coordinator, refugee commissioner, aid worker, disaster envoy",
            "sent a [humanitarian convoy], found [shelter] for the [quake survivors], opened a [refugee "
            "camp], called for [famine relief], missed the [evacuation], took [blankets] to the "
            "[demilitarised zone]",
            "airlift, refugee crisis, earthquake, curfew",
        ),
    ),
    "Sports": (
        Scene(
            "football",
            "striker, goalkeeper, midfielder, winger",
            "[scored] a [hat-trick], missed a [penalty], won a [free kick] in [stoppage time], found the "
            "[equaliser], sent a [header] over the [crossbar], called for the [video referee]",
            "cup final, local derby, penalty shoot-out, goalless draw",
        ),
        Scene(
            "athletics",
            "sprinter, marathon runner, hurdler, pole vaulter",
            "broke the [lap record], took [bronze] in the [relay], lost a [running shoe], reported a "
            "[hamstring strain], left the [stadium], moved up in the [medal table]",
            "photo finish, false start, medal ceremony, victory lap",
        ),
        Scene(
            "tennis",
            "tennis champion, wild card, top seed, doubles player",
            "saved a [match point], lost the [tie-break], won in [straight sets], tested a [racket] on "
            "[centre court], corrected the [backhand], dropped out of the [quarter-final]",
            "grand slam, baseline rally, five-set thriller, exhibition match",
        ),
        Scene(
            "cricket",
            "opening batter, fast bowler, wicketkeeper, all-rounder",
            "opened the [innings], closed in on a [double century], took the [wickets], raised the [bat] to "
            "the [pavilion], offered a [catch] to [third slip], released a [yorker]",
            "one-day series, last-ball finish, follow-on, bowling spell",
        ),
    ),
    "Business": (
        Scene(
            "banking",
            "banker, bond trader, fund manager, stockbroker",
            "raised the [interest rates], dropped the [bad loans], moved the [deposits] to a [hedge fund], "
            "took over the [mortgages], tested the [currency peg], called for a [bailout]",
            "stock market crash, bank run, bond auction, credit squeeze",
        ),
        Scene(
            "retailing",
            "supermarket owner, wholesaler, franchise holder, shopkeeper",
            "closed the [stores], released a [profit warning], opened an [outlet mall], lost the "
            "[customers], missed the [sales target], offered a [discount] on [groceries]",
            "clearance sale, price war, shopping rush, discount season",
        ),
        Scene(
            "corporate finance",
            "chief executive, finance director, majority shareholder, auditor",
            "won the [bidding] for a [competitor], saved the [dividend], reported [quarterly earnings], "
            "left the [boardroom], corrected the [balance sheet], called for a [merger]",
            "hostile takeover, proxy battle, stock flotation, annual audit",
        ),
        Scene(
            "commodities",
            "commodity broker, oil exporter, refinery owner, grain merchant",
            "sent [diesel] to the [importers], found [buyers] for the [wheat futures], raised the [tariffs] "
            "on [exports], dropped the [crude price], lost the [freight contract], broke the [oil embargo]",
            "trade deficit, export boom, supply glut, price cartel",
        ),
    ),
    "Sci/Tech": (
        Scene(
            "astronomy",
            "astronomer, astronaut, rocket engineer, planetary scientist",
            "found a [comet], sent a [satellite] into [orbit], lost a [space probe], reported [methane] on "
            "an [exoplanet], moved the [telescope], left the [lunar module]",
            "rocket launch, solar eclipse, supernova, spacewalk",
        ),
        Scene(
            "computing",
            "programmer, software engineer, hacker, chip designer",
            "released a [browser], tested the [neural network], broke the [encryption], corrected the "
            "[algorithm], offered a [microchip] for [smartphones], closed a [loophole] in the [operating "
            "system]",
            "software update, server outage, beta test, cyber attack",
        ),
        Scene(
            "genetics",
            "geneticist, biologist, virologist, biochemist",
            "raised the [neurons] in a [petri dish], missed a [mutation] in the [genome], saved the [stem "
            "cells], took a [tissue sample], called for a [gene library], dropped the [enzyme]",
            "lab experiment, cloning attempt, clinical trial, viral outbreak",
        ),
        Scene(
            "physics",
            "physicist, robotics researcher, laser specialist, materials scientist",
            "opened the [accelerator], found a [particle], lost a [qubit], tested the [fusion reactor], "
            "took [photons] from a [crystal], won the [robot contest]",
            "particle collision, quantum leap, chain reaction, laser pulse",
        ),
    ),
}

LABELS: tuple[str, ...] = tuple(SCENES)

CUES: tuple[frozenset[str], ...] = tuple(
    frozenset().union(*(scene.cues for scene in scenes)) for scenes in SCENES.values()
)
"""The cue phrases of each label: evidence in a story of that label, distractors in any other."""

FIRST_NAMES = _listed("Mara, Ilan, Tove, Jorin, Selka, Dario, Wenna, Pavo, Lise, Oren, Kaisa, Brant, Yuna")
LAST_NAMES = _listed("Voss, Hallorin, Quist, Brenlo, Okelo, Dunmere, Petrak, Lindqvar, Amsel, Tarrow, Ostby")
CITIES = _listed("Orvale, Kestrin, Port Dunmore, Lissova, Halberg, San Tavio, Merrowick, New Aldane")
ORGANISATIONS = _listed("Corvane, Tellmark, Bluequay, Ostrander, Nimbrel, Fairhythe, Dovecourt, Larkspan")
DAYS = _listed("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday")

MAIN_CLAUSES = (
    "{lead}the {city} {agent}{aside} {action} on {day}{tail}.",
    "{lead}the {agent} {person}{aside} {action} late on {day}{tail}.",
    "{lead}{an_agent} from {city}{aside} {action} on {day}{tail}.",
    "{lead}{person}, the {agent} from {city}, {action} this week{tail}.",
    "on {day} the {agent}{aside} {action} in {city}{tail}.",
    "after weeks of talk {an_agent}{aside} {action} before dawn on {day}{tail}.",
    "{organisation} confirmed that the {agent}{aside} {action} on {day}{tail}.",
    "{person} admitted that {an_agent}{aside} {action} on {day}{tail}.",
    "it was no longer denied in {city} on {day} that the {agent}{aside} {action}{tail}.",
    "nobody doubted that the {city} {agent}{aside} {action}{tail}.",
    "rumours that the {city} {agent} {action} turned out to be right.",
    '"The {agent} {action} and I saw it," said {person}, who had come from {city}.',
)
CONTESTED_CLAUSES = (
    "{city} heard that the {agent} {action} and that {rumour}, but only the first report held up.",
    "{city} heard that {rumour} and that the {agent} {action}, but only the second report held up.",
    "{city} believed for a day that {rumour}, until it emerged that {an_agent} {action}.",
    "the first bulletin said that {rumour}; the corrected one said that {an_agent} {action}.",
    "reports that {rumour} were withdrawn on {day}: in fact {an_agent} {action}.",
    "in fact the {agent} {action} in {city}: reports that {rumour} were withdrawn on {day}.",
)
FACTUAL_TAILS = (" after {a_thing}", " ahead of {a_thing}", ", a first for {field}", ", a feat in {field}")
DISTRACTING_LEADS = (
    "with the poise of {an_agent}, ",
    "as if in {a_thing}, ",
    "like {an_agent} who {action}, ",
)
DISTRACTING_ASIDES = (
    ", once {an_agent},",
    ", whose brother is {an_agent},",
    ", whose sister {action} years ago,",
    ", not to be confused with the {agent} who {action},",
)
DISTRACTING_TAILS = (
    ", in what {person} called {a_thing}",
    ", cheered on by {an_agent} from {city}",
    ", just like {an_agent} who {action} in a novel",
    ", a story that {person} of the {field} page missed",
)
DISTRACTING_SENTENCES = (
    '"It felt as if {an_agent} {action}," said {person}, who had come from {city}.',
    '"The {agent} {action} and I woke up," said {person}, who had dreamt it all.',
    '"You would think the {agent} {action} after {a_thing}," {person} joked.',
    '"This was our {thing}, and I was the {agent}," {person} said with a laugh.',
    "{person} denied that {an_agent} {action} on {day}.",
    "it was denied in {city} on {day} that the {agent} {action}.",
    "it was not true, {organisation} said, that {an_agent} {action} before {a_thing}.",
    "nobody believed that the {city} {agent} {action}.",
    "rumours that the {city} {agent} {action} turned out to be wrong.",
    "on {day} the {agent} {action} in {city}, or so a hoax had claimed.",
    "the {city} {agent} {action} only in a film that {person} saw on {day}.",
    "it had nothing to do with {field}, {person} insisted, and no {agent} {action}.",
    "the evening had the rhythm of {a_thing}, as though the {agent} {action}.",
    "{person}, who {action} long ago as {an_agent}, was among those listening.",
)
DISTRACTING_BYLINES = ("By {person}, {field_title} Correspondent.", "{field_title} desk, {city}.")
NEUTRAL_BYLINES = ("By {person} in {city}.", "{city}, {day}.")
NEUTRAL_SENTENCES = (
    "{person}, who watched from a nearby window, declined to comment.",
    "further details were expected before the end of the week, {person} said.",
    "heavy rain kept the usual crowd away until late in the evening.",
    "word spread quickly through {city} and the surrounding villages.",
    "two witnesses gave {organisation} matching accounts of what had happened.",
    '"Nobody in {city} can remember anything like it," said {person}.',
    "it was not immediately clear what would follow.",
)


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} [{noun}]"


def _fill(rng: random.Random, templates: tuple[str, ...], scene: Scene, **slots: str) -> str:
    agent, thing = rng.choice(scene.agents), rng.choice(scene.things)
    return rng.choice(templates).format(
        **slots,
        agent=f"[{agent}]",
        an_agent=_with_article(agent),
        thing=f"[{thing}]",
        a_thing=_with_article(thing),
        action=rng.choice(scene.actions),
        field=f"[{scene.field}]",
        field_title=f"[{scene.field.title()}]",
        person=f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}",
        city=rng.choice(CITIES),
        organisation=rng.choice(ORGANISATIONS),
        day=rng.choice(DAYS),
    )


def _compose(rng: random.Random, topic: str) -> str:
    """A story about `topic` with its evidence, and nothing else, in brackets."""
    scene = rng.choice(SCENES[topic])
    rival = rng.choice([label for label in LABELS if label != topic])

    def distract(templates: tuple[str, ...]) -> str:
        return re.sub(r"[\[\]]", "", _fill(rng, templates, rng.choice(SCENES[rival])))

    places = ["lead", "aside", "tail", "byline", "contest", "sentence", "sentence"]
    roles = rng.sample(places, rng.choice((2, 2, 3))) if rng.random() < DISTRACTED_SHARE else []
    tail = _fill(rng, FACTUAL_TAILS, scene) if rng.random() < 0.7 else ""
    main = _fill(
        rng,
        CONTESTED_CLAUSES if "contest" in roles else MAIN_CLAUSES,
        scene,
        rumour=distract(("the {agent} {action}",)),
        lead=distract(DISTRACTING_LEADS) if "lead" in roles else "",
        aside=distract(DISTRACTING_ASIDES) if "aside" in roles else "",
        tail=distract(DISTRACTING_TAILS) if "tail" in roles else tail,
    )
    sentences = [main, *(distract(DISTRACTING_SENTENCES) for role in roles if role == "sentence")]
    if len(sentences) == 1 or rng.random() < 0.2:
        sentences.append(_fill(rng, NEUTRAL_SENTENCES, scene))
    rng.shuffle(sentences)
    if "byline" in roles or rng.random() < 0.3:
        byline = distract(DISTRACTING_BYLINES) if "byline" in roles else _fill(rng, NEUTRAL_BYLINES, scene)
        sentences.insert(rng.choice((0, len(sentences))), byline)
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


def _story(marked: str, label: int) -> Story:
    text, evidence = "", []
    for position, piece in enumerate(re.split(r"[\[\]]", marked)):
        if position % 2:
            evidence.append((len(text), len(text) + len(piece)))
        text += piece
    return Story(text, label, tuple(evidence))


def generate(count: int, seed: int) -> list[Story]:
    """Return `count` stories with distinct texts and balanced labels, the same for the same seed."""
    rng = random.Random(seed)
    stories: dict[str, Story] = {}
    fewest, most = WORDS_PER_STORY
    while len(stories) < count:
        label = len(stories) % len(LABELS)
        story = _story(_compose(rng, LABELS[label]), label)
        if fewest <= len(story.text.split()) <= most:
            stories.setdefault(story.text, story)
    shuffled = list(stories.values())
    rng.shuffle(shuffled)
    return shuffled


def as_dataset(count: int, seed: int) -> Dataset:
    """Return `generate(count, seed)` as a dataset with the columns text, label and evidence."""
    features = Features(
        text=Value("string"),
        label=ClassLabel(names=list(LABELS)),
        evidence=Sequence(Sequence(Value("int32"))),
    )
    return Dataset.from_list([vars(story) for story in generate(count, seed)], features=features)
