"""The fleet tells the truth of a made-up world, whatever happens in it: one story for each seed."""

import pytest
from sqlalchemy import create_engine, make_url, text

from simulation.story import Story, told_by
from simulation.truth import complaints
from simulation.world import World


def test_states_and_events_of_a_simulated_fleet_match_the_simulated_facts(
    seed: int, database_url: str
) -> None:
    story = told_by(seed)
    if wrong := outcome(story, database_url):
        story, wrong = shortened(story, database_url, wrong)
        deeds = "\n".join(f"  {deed}" for deed in story.deeds)
        about = f"seed {seed}, numbered={story.numbered}, hosts {[*story.hosts]}"
        pytest.fail("\n".join([about, deeds, *wrong]), pytrace=False)


def shortened(story: Story, database_url: str, wrong: list[str]) -> tuple[Story, list[str]]:
    """The shortest story that still fails, of those with deeds left out; and what is wrong."""
    n = 0
    while n < len(story.deeds):
        shorter = story.without(n)
        if found := outcome(shorter, database_url):
            story, wrong = shorter, found
        else:
            n += 1
    return story, wrong


def outcome(story: Story, database_url: str) -> list[str]:
    """What is wrong after a story, which begins with an empty fleet."""
    engine = create_engine(database_url)
    with engine.begin() as connection:
        for table in ("servers", "liveness", "facets", "events", "watches", "pauses"):
            connection.execute(text(f"DELETE FROM {table}"))
    engine.dispose()
    world = World(story, make_url(database_url))
    try:
        world.happen()
        return complaints(world)
    finally:
        world.close()
