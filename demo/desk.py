"""`Desk`: where one page is written. It numbers pictures, gives them addresses and draws scenes."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from demo.clip.pictures import Scene, caption

from .resources import Resource, Serve


@dataclass(frozen=True, slots=True)
class Address:
    """An image's URL, and the ways in which a page may write it."""

    origin: str  #: `http://gallery.localhost:8080`
    directory: str  #: `/2026/spring/`, where the page's relative URLs start
    name: str

    @property
    def url(self) -> str:
        """The absolute URL, as it must be extracted."""
        return f"{self.origin}{self.rooted}"

    @property
    def rooted(self) -> str:
        """Relative to the host."""
        return f"{self.directory}{self.name}"

    @property
    def schemeless(self) -> str:
        """Relative to the scheme."""
        return self.url.removeprefix("http:")

    @property
    def parent(self) -> str:
        """Up one directory and down again."""
        return f"../{self.directory.rstrip('/').rsplit('/', 1)[1]}/{self.name}"


@dataclass(slots=True)
class Desk:
    """One page's place in the site: its address, its dice, and the ports of the world around it."""

    dice: random.Random
    numbers: Iterator[int]  #: shared by the whole site, so that no two pictures have one name
    origin: str
    directory: str
    web_port: int
    trap_port: int
    native_word: str  #: a word of the page's language, for file names and texts

    def address(self, suffix: str, *, host: str = "", stem: str = "picture") -> Address:
        """A fresh address beside the page, or on another host of the web."""
        origin = f"http://{host}:{self.web_port}" if host else self.origin
        return Address(origin, self.directory, f"{stem}-{next(self.numbers)}.{suffix}")

    def scene(self) -> Scene:
        """A scene by the dice."""
        return Scene.random(self.dice)

    def other_than(self, scene: Scene) -> Scene:
        """A scene that shares nothing with this one."""
        return scene.unlike(self.dice)

    def picture(self, serve: Serve = Serve.PICTURE) -> Resource:
        """A picture of a fresh scene, in one of the formats that the recipe takes."""
        format = self.dice.choices(("jpeg", "png", "webp", "gif"), (6, 2, 1, 1))[0]
        return Resource(serve, self.scene(), format)


def tells(resource: Resource) -> str:
    """The text that tells what the picture shows."""
    return caption(resource.scene)


def img(src: str, alt: str) -> str:
    """A plain `<img>`, escaped as a careful author would."""
    return f'<img src="{escape(src)}" alt="{escape(alt)}">'
