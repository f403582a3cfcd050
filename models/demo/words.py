"""What people say about the demo's pictures: captions as a person might search, each with the facts it claims.

A fact is (kind or None, colour or None); a caption claims up to two of them and perhaps a background. So whether a
caption is true of a picture is known exactly, of every picture and not only of the one it was written for.
"""
KINDS = {
    "car": "car cars automobile", "bus": "bus buses coach", "truck": "truck trucks lorry", "house": "house houses home cottage",
    "tree": "tree trees", "flower": "flower flowers blossom", "fish": "fish fishes", "bird": "bird birds",
    "boat": "boat boats sailboat ship", "cat": "cat cats kitten", "sun": "sun suns", "mountain": "mountain mountains hill",
    "balloon": "balloon balloons", "cup": "cup cups mug", "book": "book books", "umbrella": "umbrella umbrellas parasol",
}
COLOURS = {
    "red": "red scarlet", "orange": "orange", "yellow": "yellow", "green": "green", "blue": "blue", "purple": "purple violet",
    "pink": "pink", "brown": "brown", "white": "white", "black": "black",
}
PLACES = {
    "sky": ["in the sky", "in front of the sky", "in the clouds", "under a blue sky", "sky", "in a cloudy sky"],
    "grass": ["on grass", "on the grass", "in a meadow", "on a lawn", "grass", "in the field"],
    "sea": ["on the sea", "at sea", "in the sea", "on the water", "in the ocean", "sea", "by the sea"],
    "sand": ["on sand", "on the sand", "on the beach", "in the desert", "on a beach", "sand", "in the sand"],
    "night": ["at night", "in the night", "in the dark", "under the stars", "night", "by night"],
    "street": ["on the street", "in the street", "on a street", "on the road", "on a road", "street"],
}
OPENINGS = [
    "", "", "", "", "a photo of", "a picture of", "an image of", "a drawing of", "photo of", "picture of", "there is", "i see",
    "show me", "find", "a photograph of", "this is", "my", "pictures with", "one", "two", "some",
]
LINKS = ["and", "and", "with", "next to", "beside", "near"]


def say_fact(kind, colour, rng):
    """Words for a thing, of which the kind or the colour may be unsaid."""
    # The plain word half of the time: it is what people type.
    kind_words, colour_words = KINDS.get(kind, "").split(), COLOURS.get(colour, "").split()
    noun = kind_words and (kind_words[0] if rng.random() < 0.5 else rng.choice(kind_words))
    adjective = colour_words and (colour_words[0] if rng.random() < 0.7 else rng.choice(colour_words))
    article = rng.choice(["a", "a", "a", "the", ""])
    article = "an" if article == "a" and (adjective or noun)[0] in "aeiou" else article
    if not colour:
        return f"{article} {noun}"
    if not kind:
        return rng.choice([adjective, adjective, f"something {adjective}", f"{article} {adjective} thing", f"{adjective} colour", f"{adjective} color"])
    if rng.random() < 0.06:
        return f"{article} {noun} that is {adjective}"
    return f"{article} {adjective} {noun}"


def say(facts, place, rng):
    """A caption for one or two facts and a background or None; facts may be empty if there is a background."""
    things = f" {rng.choice(LINKS)} ".join(say_fact(*fact, rng) for fact in facts)
    where = rng.choice(PLACES[place]) if place else ""
    words = f"{rng.choice(OPENINGS)} {things} {where}".split()
    if rng.random() < 0.08:  # A word it does not know must not matter.
        words.insert(rng.randrange(len(words) + 1), "[UNK]")
    return " ".join(words)


def caption(things, background, rng):
    """(facts, place) of a caption that is true of a picture of these things: [(kind, colour)], one or two."""
    things = rng.sample(things, len(things))
    (kind, colour), dice = things[0], rng.random()
    place = background if rng.random() < 0.25 else None
    if len(things) == 2 and dice < 0.3:
        return things, place
    if dice < 0.76:
        return [(kind, colour)], place
    if dice < 0.86:
        return [(kind, None)], place
    if dice < 0.94:
        return [(None, colour)], place
    return [], background


def vocabulary():
    """Every word that a caption can have, sorted."""
    phrases = [*KINDS.values(), *COLOURS.values(), *OPENINGS, *LINKS, *sum(PLACES.values(), [])]
    return sorted({w for phrase in phrases for w in phrase.split()} | set("a an the something thing colour color that is of in".split()))
