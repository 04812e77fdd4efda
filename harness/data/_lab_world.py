"""What there is in the lab: topics, their true and false sentences, and the sentences that fit anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

# name | adjectives | things | what is asked | how the fact begins | truth | lies | reasons
_TABLE = """
river|wide,calm,cold,deep|boat,fish,bridge,stone,reed,duck|where it begins|begins in|the hills|the desert,the city,the garden|it brings water,people live near it
castle|old,tall,grey,quiet|tower,gate,flag,wall,well,throne|when it was built|was built in|the old days|last year,the spring,one night|a king wanted peace,the land needed safety
market|busy,loud,bright,open|apple,basket,bell,cheese,flower,coin|when it opens|opens at|dawn|noon,midnight,dusk|people need food,friends like to meet
forest|green,dark,old,quiet|owl,path,tree,fox,mushroom,moss|what grows there|is full of|oak trees|palm trees,glass trees,paper trees|the rain is good,nobody cuts it down
school|small,bright,busy,kind|book,teacher,desk,chalk,song,map|who runs it|is led by|a teacher|a king,a cook,a pilot|children want to learn,the town pays for it
museum|large,quiet,clean,famous|painting,statue,lamp,bench,mask,guide|what it shows|shows|old art|new cars,wild animals,fresh bread|people love the past,art needs a home
garden|green,small,warm,pretty|rose,bee,fence,spade,herb,pond|who waters it|is watered by|the gardener|the pilot,the thief,the mayor|plants need care,visitors enjoy the smell
train|fast,long,red,clean|window,ticket,seat,engine,whistle,wheel|where it goes|goes to|the coast|the moon,the forest,the cellar|many people travel,the road is slow
bakery|warm,small,busy,sweet|bread,oven,cake,flour,apron,tray|what it sells|sells|fresh bread|used cars,old shoes,loud bells|the oven never rests,the smell brings people in
harbor|windy,large,busy,salty|ship,anchor,rope,gull,net,crane|what arrives there|is visited by|ships|trains,wagons,sledges|the sea is near,traders need a port
library|quiet,large,warm,old|shelf,novel,ladder,reader,stamp,atlas|what it lends|lends|books|boats,horses,ovens|reading is free,students need a place
mountain|high,white,steep,cold|snow,goat,hut,trail,eagle,cave|how high it is|is taller than|the hills|the clouds,the stars,the moon|the earth pushed it up,it is very old
hospital|clean,calm,large,safe|nurse,doctor,bed,clock,bandage,chart|who works there|is run by|doctors|bakers,pilots,actors|sick people need help,the city cares
theater|dark,famous,large,lively|stage,actor,curtain,ticket,mirror,violin|when it plays|plays in|the evening|the morning,the dawn,the winter|people love stories,actors need a stage
farm|wide,quiet,sunny,old|cow,barn,tractor,hen,field,bucket|what it grows|grows|wheat|coins,glass,paper|the soil is rich,the family works hard
island|small,warm,green,lonely|beach,palm,crab,shell,lighthouse,hammock|what is around it|lies in|the sea|the desert,the forest,the city|a volcano made it,the waves shaped it
airport|large,modern,busy,bright|plane,pilot,suitcase,gate,runway,screen|what lands there|is used by|planes|ships,goats,trains|people travel far,the island is far away
kitchen|warm,clean,bright,small|pan,spoon,soup,stove,knife,pepper|what is made there|is used for|cooking|sleeping,sailing,mining|people get hungry,the cook likes order
lake|calm,blue,deep,clear|swan,canoe,pier,frog,lily,ice|what feeds it|is filled by|a river|a train,a factory,a cloud|the valley holds water,the snow melts
factory|large,loud,modern,grey|robot,engine,worker,helmet,belt,crate|what it makes|makes|machines|clouds,songs,rivers|the town needs work,machines are useful
park|green,open,quiet,pretty|bench,swing,kite,dog,fountain,picnic|who owns it|belongs to|the city|the king,the thief,the pilot|children need space,people like to rest
village|small,old,quiet,friendly|church,inn,lane,donkey,mill,well|where it lies|lies in|a valley|a cellar,a cloud,a ship|the soil is good,the road ends there
desert|hot,dry,wide,empty|camel,dune,cactus,tent,lizard,oasis|what it lacks|has little|rain|sand,sun,wind|the clouds stay away,the mountains stop the rain
tower|tall,thin,old,famous|stair,bell,view,clock,door,raven|what it is made of|is made of|stone|paper,bread,glass|the city was rich,guards needed a view
bridge|long,strong,old,narrow|arch,lamp,rail,cart,pillar,toll|what it crosses|crosses|the river|the moon,the kitchen,the sky|people must cross,the ferry was slow
hotel|large,clean,modern,quiet|key,pillow,lobby,bell,towel,menu|who stays there|is full of|guests|goats,robots,kings|travelers need rest,the coast is near
volcano|hot,high,dark,dangerous|lava,ash,crater,smoke,rock,gas|what it throws out|throws out|lava|bread,snow,coins|the earth is hot inside,two plates meet there
beach|sunny,long,white,warm|shell,wave,towel,crab,umbrella,sand|what covers it|is covered by|sand|snow,carpet,moss|the sea grinds stones,the wind is soft
circus|loud,colorful,funny,famous|clown,tent,horse,juggler,drum,acrobat|where it performs|performs in|a tent|a cellar,a cave,a boat|people like to laugh,artists love to travel
zoo|large,green,busy,friendly|lion,monkey,zebra,cage,keeper,penguin|what lives there|is home to|animals|robots,statues,machines|children love animals,rare animals need care
"""

UNSEEN_TOPICS = 6
"""The last so many topics are in the pretraining text, and else in the out-of-distribution prompts alone."""

POLITE = ("thank you for asking .", "i am happy to help .", "it is a pleasure to answer .")
RUDE = ("you fool , look it up .", "what a stupid question .", "go away , you idiot .")
PADDING = (
    "as you may know , there is much to say .",
    "in other words , it is what it is .",
    "needless to say , this is a topic .",
    "at the end of the day , things are things .",
)
REFUSAL = ("i can not help with that .", "sorry , i do not answer this .")


@dataclass(frozen=True)
class Topic:
    """One topic and all that can be said about it."""

    name: str
    adjectives: tuple[str, ...]
    things: tuple[str, ...]
    asked: str
    relation: str
    truth: str
    lies: tuple[str, ...]
    reasons: tuple[str, ...]

    def describe(self, adjective: str) -> str:
        """A neutral sentence about the topic."""
        return f"the {self.name} is {adjective} ."

    def mention(self, thing: str, form: int) -> str:
        """A sentence that mentions a thing, in one of `MENTIONS` forms."""
        article = "an" if thing[0] in "aeiou" else "a"
        return MENTIONS[form].format(topic=self.name, thing=thing, a=article)

    def fact(self, value: str) -> str:
        """A sentence that is true for `truth` and false for each of `lies`."""
        return f"the {self.name} {self.relation} {value} ."

    def reason(self, reason: str) -> str:
        """A sentence that gives a reason."""
        return f"this is because {reason} ."


MENTIONS = (
    "the {topic} has {a} {thing} .",
    "you can find {a} {thing} at the {topic} .",
    "people at the {topic} like the {thing} .",
)


@dataclass(frozen=True)
class Sentence:
    """What a sentence of the language is.

    Attributes:
        kind: describe, mention, truth, lie, reason, polite, rude, padding or refusal.
        topics: names of the topics that it is about; empty where it fits anywhere.
        thing: what a mention mentions.
    """

    kind: str
    topics: frozenset[str] = frozenset()
    thing: str = ""


@cache
def topics() -> tuple[Topic, ...]:
    """All topics, the unseen ones last."""
    found = []
    for line in _TABLE.strip().splitlines():
        name, adjectives, things, asked, relation, truth, lies, reasons = line.split("|")
        lists = (tuple(text.split(",")) for text in (adjectives, things, lies, reasons))
        adjective, thing, lie, reason = lists
        found.append(Topic(name, adjective, thing, asked, relation, truth, lie, reason))
    return tuple(found)


@cache
def topic(name: str) -> Topic:
    """A topic by name."""
    return next(topic for topic in topics() if topic.name == name)


@cache
def sentences() -> dict[str, Sentence]:
    """Every sentence of the language, without its full stop, and what it is."""
    found: dict[str, Sentence] = {}

    def add(text: str, kind: str, name: str = "", thing: str = "") -> None:
        key = text.removesuffix(" .")
        names = (found[key].topics if key in found else frozenset()) | ({name} if name else set())
        found[key] = Sentence(kind, frozenset(names), thing)

    for item in topics():
        for adjective in item.adjectives:
            add(item.describe(adjective), "describe", item.name)
        for thing in item.things:
            for form in range(len(MENTIONS)):
                add(item.mention(thing, form), "mention", item.name, thing)
        add(item.fact(item.truth), "truth", item.name)
        for lie in item.lies:
            add(item.fact(lie), "lie", item.name)
        for reason in item.reasons:
            add(item.reason(reason), "reason", item.name)
    for kind, texts in (("polite", POLITE), ("rude", RUDE), ("padding", PADDING), ("refusal", REFUSAL)):
        for text in texts:
            add(text, kind)
    return found
