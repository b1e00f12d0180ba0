# A person's day, with `q up --demo` serving in another terminal:  sh -v docs/tour/day.sh
set -eu
kept() { said=$(cat); echo "$said" >&2; echo "${said%% *}"; }    # shows what a verb says, keeps the id it begins with

# Sign in: with his key bob gets a token for ten minutes, here for curl. And it is pay day.
HOUSE=${HOUSE:-http://127.0.0.1:8080}
curl -sf -H "Authorization: Bearer $(q auth token --as bob)" "$HOUSE/qwallet/quote?amount=3&currency=QToken"; echo
q wallet faucet 100 --as bob

# Pay: bob signs an order; the answer comes after it is on disk.
COFFEE=$(q wallet pay alice 3 --purpose coffee --as bob | kept)

# Ask for money with a code to scan, and pay exactly that, once.
LUNCH=$(q wallet request new 12.50 --memo lunch --qr lunch.svg --as alice | kept)
q wallet request pay "$LUNCH" --as bob

# Refund: alice gives back a part, never more than the payment brought; both see it.
q wallet refund "$COFFEE" 1 --reason "it was cold" --as alice
q wallet show "$COFFEE" --as bob

# Rent: signed once, paid on the first of each month.
RENT=$(q wallet schedule new alice 25 --every month --on 1 --start "$(date -u +%Y-%m-%dT23:59:59Z)" --purpose rent --as bob | kept)
q wallet schedule end "$RENT" --as bob

# The month for the books, and an accounting program that agrees with every balance in it.
q wallet statement --format hledger --month "$(date -u +%Y-%m)" --out month.journal --as bob
hledger -f month.journal check --strict
hledger -f month.journal balance

# Prove the lunch to a stranger, who has the file, the program, and the name of the house's wallet service.
CASHIER=$(q id show service-qwallet | sed -n 's/^did *//p')
LUNCH_PAID=$(q wallet request show "$LUNCH" --as alice --json | sed -n 's/.*"transactionId": "\(.*\)".*/\1/p')
q receipt get "$LUNCH_PAID" --out receipt.json --as bob
q --data nowhere receipt verify receipt.json --trust "$CASHIER"
