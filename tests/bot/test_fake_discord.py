"""The fake itself, by a small client that uses what the bot does not use (yet), and the real bot
through broken gateways. Every rule here is one that discord.py or Discord really has."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import discord
import pytest
from discord import app_commands, ui

from bot.bot import LaionBot
from bot.discord_api import use_discord_at
from tests.bot.house import House
from tests.fake_discord import EPHEMERAL, FakeDiscord, NoAnswer, texts
from tests.fake_discord.world import Permission


class Sample(discord.Client):
    """A client with one command of each kind."""

    def __init__(self, intents: discord.Intents | None = None) -> None:
        super().__init__(
            intents=intents or discord.Intents(guilds=True), max_ratelimit_timeout=30.0
        )
        self.tree = app_commands.CommandTree(self)
        self._connection.guild_ready_timeout = 0.02

    async def setup_hook(self) -> None:
        @self.tree.command(description="Two messages after a pause")
        async def slow(interaction: discord.Interaction, private: bool = False) -> None:
            await interaction.response.defer(ephemeral=private, thinking=True)
            await interaction.followup.send("first")
            await interaction.followup.send("second", ephemeral=private)
            await interaction.edit_original_response(content="first, edited")

        @self.tree.command(description="Who")
        async def who(interaction: discord.Interaction, user: discord.Member) -> None:
            await interaction.response.send_message(f"{user.name} {user.id}")

        @self.tree.command(description="Number")
        async def number(
            interaction: discord.Interaction, n: app_commands.Range[int, 1, 9]
        ) -> None:
            await interaction.response.send_message(str(n))

        @self.tree.command(description="Never")
        async def never(interaction: discord.Interaction) -> None:
            await asyncio.sleep(0.3)
            with pytest.raises(discord.NotFound):
                await interaction.response.send_message("too late")
            self.dispatch("was_late")

        await self.tree.sync()


@asynccontextmanager
async def connected(fake: FakeDiscord, client: discord.Client) -> AsyncIterator[None]:
    use_discord_at(fake.api, fake.gateway_url)
    async with client:
        running = asyncio.create_task(client.start(fake.token))
        await asyncio.wait(
            {running, asyncio.create_task(client.wait_until_ready())}, return_when="FIRST_COMPLETED"
        )
        if running.done():
            running.result()
        yield
        await client.close()
        await running


class Stage:
    """A guild with one person and one channel, and the sample client in it."""

    def __init__(self, fake: FakeDiscord, client: Sample) -> None:
        self.fake, self.client = fake, client
        self.guild = fake.world.add_guild("guild")
        self.room = fake.world.add_channel(self.guild, "room")
        self.ann = fake.world.add_user("ann")
        self.guild.add_member(self.ann)

    @property
    def channel(self) -> discord.TextChannel:
        channel = self.client.get_channel(int(self.room.id))
        assert isinstance(channel, discord.TextChannel)
        return channel


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with FakeDiscord(ack_deadline=0.2) as fake:
        stage = Stage(fake, Sample())
        async with connected(fake, stage.client):
            yield stage


async def test_the_first_followup_fills_the_deferred_message(stage: Stage) -> None:
    done = await stage.fake.people.slash(stage.ann, stage.room, "slow", private=True)
    assert done.message.flags & EPHEMERAL
    await stage.fake.signal.until(
        lambda: texts(done.message) == "first, edited" and done.followups[0].content == "second"
    )
    assert not stage.fake.messages.history(stage.room), "an ephemeral message is in the history"


async def test_an_answer_after_the_deadline_is_refused(stage: Stage) -> None:
    late = asyncio.create_task(stage.client.wait_for("was_late", timeout=5))
    with pytest.raises(NoAnswer):
        await stage.fake.people.slash(stage.ann, stage.room, "never")
    await late


async def test_options_are_checked_as_discords_client_checks_them(stage: Stage) -> None:
    people = stage.fake.people
    done = await people.slash(stage.ann, stage.room, "who", user=stage.ann.id)
    assert texts(done.message) == f"ann {stage.ann.id}"
    for wrong in ({"n": 10}, {}, {"n": 1, "m": 2}):
        with pytest.raises(ValueError, match=r"out of range|required|no such option"):
            await people.slash(stage.ann, stage.room, "number", **wrong)


async def test_attachments_come_back_from_the_cdn(stage: Stage) -> None:
    embed = discord.Embed(title="chart").set_image(url="attachment://c.png")
    sent = await stage.channel.send(embed=embed, file=discord.File(io.BytesIO(b"PNG"), "c.png"))
    assert sent.embeds[0].image.url == sent.attachments[0].url
    async with aiohttp.ClientSession() as session, session.get(sent.attachments[0].url) as got:
        assert await got.read() == b"PNG"


async def test_direct_messages_may_be_closed(stage: Stage) -> None:
    ann = await stage.client.fetch_user(int(stage.ann.id))
    await ann.send("hello")
    stage.ann.dms_open = False
    with pytest.raises(discord.Forbidden) as refused:
        await ann.send("hello?")
    assert refused.value.code == 50007


async def test_threads_pins_and_roles(stage: Stage) -> None:
    sent = await stage.channel.send("incident")
    thread = await sent.create_thread(name="incident 1")
    await thread.send("what happened")
    await sent.pin()
    assert [message.id async for message in stage.channel.pins()] == [sent.id]
    role = stage.guild.add_role("hero")
    member = await stage.client.get_guild(int(stage.guild.id)).fetch_member(int(stage.ann.id))
    with pytest.raises(discord.Forbidden):
        await member.add_roles(discord.Object(int(role.id)))
    stage.guild.roles[0].permissions |= Permission.MANAGE_ROLES
    await member.add_roles(discord.Object(int(role.id)))
    assert role in stage.guild.members[stage.ann.id].roles


async def test_a_components_v2_message_stays_one(stage: Stage) -> None:
    view = ui.LayoutView()
    view.add_item(ui.TextDisplay("panel"))
    sent = await stage.channel.send(view=view)
    with pytest.raises(discord.HTTPException, match="cannot be used with Components V2"):
        await sent.edit(content="text")


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"content": "x" * 2001}, "content"),
        ({"embed": discord.Embed(title="x" * 257)}, "embeds.0.title"),
        ({"embeds": [discord.Embed(description="x" * 4096) for _ in range(2)]}, "embeds"),
    ],
)
async def test_what_discord_would_refuse_is_refused(
    stage: Stage, message: dict[str, object], field: str
) -> None:
    with pytest.raises(discord.HTTPException) as refused:
        await stage.channel.send(**message)
    assert refused.value.code == 50035
    assert field in refused.value.text


async def test_rate_limits_make_the_client_wait_and_injected_ones_too(stage: Stage) -> None:
    clock = asyncio.get_running_loop().time
    stage.fake.rate_limits.limits["POST", "messages"] = (2, 0.4)
    began = clock()
    for number in range(3):
        await stage.channel.send(str(number))
    assert clock() - began >= 0.3
    assert stage.fake.rate_limits.hits == 0, "discord.py did not believe the headers"
    stage.fake.faults.fail_next("POST", "messages", 429, retry_after=0.3)
    began = clock()
    await stage.channel.send("again")
    assert clock() - began >= 0.3
    stage.fake.faults.fail_next("POST", "messages", 429, retry_after=120)
    with pytest.raises(discord.RateLimited):
        await stage.channel.send("never")


async def test_intents_and_tokens_are_checked() -> None:
    async with FakeDiscord() as fake:
        with pytest.raises(discord.PrivilegedIntentsRequired):
            async with connected(fake, Sample(discord.Intents.all())):
                pytest.fail("connected with intents that nobody granted")
        fake.token = "another"
        with pytest.raises(discord.LoginFailure):
            async with Sample() as client:
                await client.login("wrong")


async def test_heartbeats_are_acknowledged() -> None:
    async with FakeDiscord(heartbeat_ms=100) as fake:
        client = Sample()
        async with connected(fake, client):
            (session,) = fake.gateway.sessions.values()
            first = session.last_beat
            await fake.signal.until(lambda: session.last_beat > first)
            assert client.latency < 1


# ── the real bot ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["line cut", "close 4000", "asked to reconnect"])
async def test_what_a_person_does_while_the_socket_is_down_is_answered(
    house: House, bot: LaionBot, how: str
) -> None:
    gateway = house.discord.gateway
    if how == "asked to reconnect":
        await gateway.ask_to_reconnect()
    else:
        await gateway.drop(4000 if how == "close 4000" else None)
    done = await house.discord.people.slash(house.town.bob, house.town.chat, "status")
    await house.discord.signal.until(lambda: done.done)
    assert (gateway.identifies, gateway.resumes) == (1, 1)
