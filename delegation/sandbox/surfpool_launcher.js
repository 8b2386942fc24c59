// Starts a Solana node inside this process, prints its URL as one line, and serves until it is killed.
// Usage: node surfpool_launcher.js SURFPOOL_MODULE SLOT_MILLISECONDS
const [module_, slot] = process.argv.slice(2);
const { Surfnet } = require(module_);

const node = Surfnet.startWithConfig({ blockProductionMode: "clock", slotTimeMs: Number(slot), offline: true });
// Every clock tick is an event, and surfpool 1.5.0 stops answering when 1024 of them wait undrained.
setInterval(() => node.drainEvents(), 20);
console.log(`Listening on ${node.rpcUrl}`);
