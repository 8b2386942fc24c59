"""The line over model chains and a model platform on a virtual clock, one integer deciding everything.

`run.run_seed(n)` is one life: a few requests of one or two owners, faults, crashes, other wallets; then the faults end
and all that is unfinished is carried on. `invariants` says what must hold afterwards. The same integer gives the same
run: `python -m tests.simulation SEED -v` shows each event with its virtual time.

| module     | what it is                                                                     |
|------------|--------------------------------------------------------------------------------|
| clock      | an event loop that never waits                                                 |
| faults     | what goes wrong, and the processes that die of it                              |
| wire       | the node's door and the platform's door, with faults on the way                |
| evm_chain  | a model EVM chain; solana_chain: a model of Solana; platform: a model platform |
| wallets    | keys that sign, wallets that sign and send, and the owner's other wallet       |
| world      | all of that from one integer, and what was seen to happen                      |
| actions    | what a user does: one function each                                            |
| run        | a life from its beginning to its end                                           |
| invariants | what must hold                                                                 |
| planted    | bugs, planted to see that they are caught                                      |
"""
