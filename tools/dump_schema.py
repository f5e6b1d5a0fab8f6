"""Write `tests/data/db-<version>.sql`: an empty database of this version with one row a table that matters, as SQL.

Run it when a version is released; upgrades are tested from every such file.
"""

import pathlib
import sqlite3
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROWS = (
    "INSERT INTO incidents (workspace_id, id, title, source, severity, first_severity, status, url, triggered_at,"
    " first_signal_at, received_at, updated_at) VALUES ('default', 'P1', 't', 'pagerduty', 2, 2, 'resolved', 'u',"
    " '2026-11-24T14:02:10.000000Z', '2026-11-24T14:02:10.000000Z', '2026-11-24T14:02:10.000000Z',"
    " '2026-11-24T14:02:10.000000Z')",
    "INSERT INTO votes (workspace_id, incident_id, triage_id, post_version, by, vote, at)"
    " VALUES ('default', 'P1', 'P1/1', 1, 'U1', 'helpful', '2026-11-24T14:10:00.000000Z')",
)


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from bot import __version__
    from bot.store.sqlite import migrate

    with tempfile.TemporaryDirectory() as name:
        path = pathlib.Path(name) / "sitrep.db"
        migrate(path)
        connection = sqlite3.connect(path)
        for row in ROWS:
            connection.execute(row)
        connection.commit()
        out = ROOT / "tests" / "data" / f"db-{__version__}.sql"
        out.write_text("\n".join(connection.iterdump()) + "\n", encoding="utf-8")
        connection.close()
        print(out)


if __name__ == "__main__":
    main()
