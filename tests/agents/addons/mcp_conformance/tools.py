"""The tools of the suite's example server that an Odoo can offer: what they answer is data."""

import base64
import io
import wave

from PIL import Image

from odoo.addons.mcp_phone_home.tools.registry import mcp_tool

TEXT = {"type": "text", "text": "This is a simple text response for testing."}
RESOURCE = {
    "type": "resource",
    "resource": {
        "uri": "test://embedded-resource",
        "mimeType": "text/plain",
        "text": "This is an embedded resource content.",
    },
}


@mcp_tool("test_simple_text", description="Returns a text.")
def simple_text(env):
    return [TEXT]


@mcp_tool("test_image_content", description="Returns a picture.")
def image_content(env):
    return [_image()]


@mcp_tool("test_audio_content", description="Returns a sound.")
def audio_content(env):
    sound = io.BytesIO()
    with wave.open(sound, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(1)
        writer.setframerate(8000)
        writer.writeframes(bytes(80))
    return [{"type": "audio", "data": _base64(sound), "mimeType": "audio/wav"}]


@mcp_tool("test_embedded_resource", description="Returns a resource.")
def embedded_resource(env):
    return [RESOURCE]


@mcp_tool("test_multiple_content_types", description="Returns a text, a picture and a resource.")
def multiple_content_types(env):
    return [TEXT, _image(), RESOURCE]


@mcp_tool("test_error_handling", description="Always fails.")
def error_handling(env):
    raise ValueError("This tool intentionally returns an error for testing")


@mcp_tool(
    "json_schema_2020_12_tool",
    description="Tool with JSON Schema 2020-12 features",
    input_schema={
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            }
        },
        "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
        "additionalProperties": False,
    },
)
def json_schema(env, **arguments):
    return arguments


def _image():
    picture = io.BytesIO()
    Image.new("RGB", (1, 1), "red").save(picture, "PNG")
    return {"type": "image", "data": _base64(picture), "mimeType": "image/png"}


def _base64(file):
    return base64.b64encode(file.getvalue()).decode()
