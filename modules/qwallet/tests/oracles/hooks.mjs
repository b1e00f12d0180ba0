// Says of deliveries whether their receiver would believe them, by npm standardwebhooks. What is asked and answered is
// described in hooks.py.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const require = createRequire(`${process.env.Q_ORACLES}/node/`);
const { Webhook } = require('standardwebhooks');
const asked = JSON.parse(readFileSync(0, 'utf8'));
Date.now = () => asked.now * 1000;

const verdicts = asked.deliveries.map((delivery) => {
  const headers = Object.fromEntries(['id', 'timestamp', 'signature'].map((name) => [`webhook-${name}`, `${delivery[name]}`]));
  try {
    new Webhook(asked.key).verify(delivery.body, headers);
    return 'verified';
  } catch (error) {
    return error.message;
  }
});
console.log(JSON.stringify(verdicts));
