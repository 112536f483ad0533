"""Plugins as tools."""

from __future__ import annotations

import loragent as la
from loragent.tool import Toolbox
from tests.agent.test_agent import Scripted, echo
from tests.conftest import MakePlugin


def test_a_skill_answers_with_its_own_plugin(base: la.Base, make_plugin: MakePlugin) -> None:
    place = make_plugin("shout", seed=3)
    alone = base.generate([la.GenerationRequest("hello there", [place], max_tokens=8)])[0].text
    skill = la.plugin_tool(place, name="shout", max_tokens=8)
    agent = la.Agent("clerk", base=base, tools=[skill], max_tokens=120, max_calls=1)
    assert agent._toolbox.schemas[0].parameters["required"] == ["text"]
    result = agent._toolbox.run(la.ToolCall(name="shout", arguments={"text": "hello there"}))
    assert result.content == alone
    assert not result.error


def test_a_skill_without_a_base_says_what_to_do() -> None:
    result = Toolbox([la.plugin_tool("summarise@2")]).run(la.ToolCall(name="summarise", arguments={"text": "x"}))
    assert result.error == "ToolError"
    assert "give it to an agent" in result.content


def test_a_skill_that_has_a_base_keeps_it(base: la.Base) -> None:
    skill = la.plugin_tool("summarise", base=base, description="Make it short.")
    assert skill.on(Scripted(echo)) is skill
    assert skill.description == "Make it short."
