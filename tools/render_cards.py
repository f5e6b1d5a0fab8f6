"""Takes a picture of every state of the card in both forms, on a desktop and on a phone: docs/slack/*.png.

    .venv/bin/python tools/render_cards.py [--out FOLDER] [--only STATE]…
    .venv/bin/python tools/render_cards.py --bundle DIR… [--out FOLDER]     # the facts card of recorded incidents

Needs node with npm and chromium (Debian: `apt-get install nodejs npm chromium`). The packages that draw Block Kit go to
a folder for temporary files and are kept between runs; SITREP_RENDER_DIR names another. CHROMIUM names the browser.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bot.cards.render import render  # noqa: E402
from bot.cards.samples import every_state  # noqa: E402
from bot.flows.replay import replay  # noqa: E402
from bot.trust.audience import Audience  # noqa: E402
from bot.trust.redaction import Redactor  # noqa: E402
from integrations.bundle import open_bundle  # noqa: E402
from integrations.records import EVERYONE, Readers  # noqa: E402

PACKAGES = ("slack-blocks-to-jsx@1.1.1", "react@18.3.1", "react-dom@18.3.1", "esbuild@0.28.2", "playwright-core@1.56.1",
            "upng-js@2.1.0")  # fmt: skip
WIDTHS = {"desktop": 720, "phone": 390}

PAGE = """
import {createRoot} from 'react-dom/client';
import {Message} from 'slack-blocks-to-jsx';
const root = createRoot(document.getElementById('root'));
const lines = "<path d='M9 24h18M9 18h12M9 12h18' stroke='white' stroke-width='3'/>";
const logo = 'data:image/svg+xml,' + encodeURIComponent(
  "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 36 36'><rect width='36' height='36' fill='#334155'/>"
  + lines + "</svg>");
window.show = (blocks, width, at) => root.render(
  <div id="card" style={{width, padding: 16, background: '#fff'}}>
    <Message blocks={blocks} logo={logo} name="Sitrep" time={new Date(at)} />
  </div>);
"""

DRIVER = """
import {chromium} from 'playwright-core';
import fs from 'node:fs';
import upng from 'upng-js';
const [payloads, out, executablePath] = process.argv.slice(2);
const browser = await chromium.launch({executablePath, args: ['--no-sandbox', '--disable-gpu']});
const shots = JSON.parse(fs.readFileSync(payloads));
const page = await browser.newPage({deviceScaleFactor: 1, timezoneId: 'UTC', viewport: {width: 900, height: 900}});
await page.clock.setFixedTime(new Date('2026-11-23T14:05:20Z'));
await page.goto('file://' + process.cwd() + '/index.html');
for (const {name, blocks, width, at} of shots) {
  const posted = new Date(at ?? '2026-11-23T14:02:11Z');
  await page.clock.setFixedTime(new Date(posted.getTime() + 189000));
  await page.evaluate((given) => window.show(...given), [blocks, width, posted.toISOString()]);
  await page.waitForTimeout(60);
  const picture = upng.decode(await page.locator('#card').screenshot());
  // 64 colours: a fifth of the size, and no difference to be seen in text.
  const small = upng.encode(upng.toRGBA8(picture), picture.width, picture.height, 64);
  fs.writeFileSync(`${out}/${name}.png`, Buffer.from(small));
}
await browser.close();
"""


def tools_folder() -> pathlib.Path:
    """The folder with the npm packages, installed once."""
    named = os.environ.get("SITREP_RENDER_DIR")
    folder = pathlib.Path(named) if named else pathlib.Path(tempfile.gettempdir()) / "sitrep-render"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "node_modules" / "upng-js").is_dir():
        (folder / "package.json").write_text('{"type": "module"}')
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", *PACKAGES], cwd=folder, check=True)
    return folder


def drawable(value: object) -> object:
    """What makes the drawing package show a text as Slack does.

    It shows `verbatim` mrkdwn raw, where Slack goes on formatting it, and takes the ":02:" of a time for an emoji:
    the colons of a time are drawn with a look-alike.
    """
    if isinstance(value, str):
        return re.sub(r"(?<=\d):(?=\d\d)", "∶", value)
    if isinstance(value, dict):
        return {name: drawable(one) for name, one in value.items() if name != "verbatim"}
    return [drawable(one) for one in value] if isinstance(value, list) else value


def shots(only: list[str]) -> list[dict[str, object]]:
    """What to draw: name of the picture, blocks, width."""
    made = []
    for name, state in every_state().items():
        if only and name not in only:
            continue
        for form in ("modern", "classic"):
            drawn = render(state, form)
            for device, width in WIDTHS.items():
                made.append({"name": f"{name}-{form}-{device}", "blocks": drawable(drawn.blocks), "width": width})
            thread = drawn.part("thread")
            if name == "summary" and thread is not None:
                made.append(
                    {"name": f"thread-{form}-desktop", "blocks": drawable(thread.blocks), "width": WIDTHS["desktop"]}
                )
    return made


def shots_of_bundles(folders: list[pathlib.Path]) -> list[dict[str, object]]:
    """The facts card of each recorded incident in the modern form, three minutes after its alert."""
    made = []
    for folder in folders:
        bundle = open_bundle(folder)
        everyone = Readers.of([EVERYONE])
        reader = Audience.local_operator(bundle.incident.triggered_at)
        replayed = asyncio.run(replay(bundle, reader, everyone, Redactor([b"pictures"])))
        blocks = drawable(render(replayed.card, "modern").blocks)
        at = bundle.incident.triggered_at.isoformat()
        made.append({"name": folder.name, "blocks": blocks, "width": WIDTHS["desktop"], "at": at})
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "slack")
    parser.add_argument("--only", action="append", default=[], metavar="STATE")
    parser.add_argument("--bundle", action="append", default=[], type=pathlib.Path, metavar="DIR")
    given = parser.parse_args()
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None or shutil.which("npm") is None:
        sys.exit("needs chromium and npm: apt-get install chromium nodejs npm")
    folder = tools_folder()
    (folder / "page.jsx").write_text(PAGE)
    (folder / "driver.mjs").write_text(DRIVER)
    (folder / "index.html").write_text(
        '<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="style.css">'
        '<body style="margin:0;background:#fff"><div id="root"></div><script src="page.js"></script>'
    )
    shutil.copy(folder / "node_modules/slack-blocks-to-jsx/dist/style.css", folder / "style.css")
    bundle = ["node_modules/.bin/esbuild", "page.jsx", "--bundle", "--outfile=page.js", "--jsx=automatic"]
    bundle += ['--define:process.env.NODE_ENV="production"', "--log-level=error"]
    subprocess.run(bundle, cwd=folder, check=True)
    wanted = shots_of_bundles(given.bundle) if given.bundle else shots(given.only)
    (folder / "payloads.json").write_text(json.dumps(wanted))
    given.out.mkdir(parents=True, exist_ok=True)
    subprocess.run(["node", "driver.mjs", "payloads.json", str(given.out.resolve()), browser], cwd=folder, check=True)
    print(f"{len(wanted)} pictures in {given.out}")


if __name__ == "__main__":
    main()
