"""A small shop of four services, instrumented with OpenTelemetry, that a deploy can really break.

    storefront  →  checkout-api  →  payments
                        ↓              ↓
                        └─ payments-db ┘      SQLite behind a socket; each caller has its own connection pool

checkout-api holds a connection of its pool while a card is charged, so that its pool's size bounds how many orders
it can take at once. Twenty are plenty for the load; two are not.
"""
