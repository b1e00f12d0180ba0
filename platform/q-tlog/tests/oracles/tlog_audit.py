"""Checks a log, in a folder or at a URL, with PyPI tlog-scales: checkpoint signature, root from tiles, consistency proofs.

usage: tlog_audit.py FOLDER|URL VERIFIER_KEY [OLD_SIZE:OLD_ROOT_HEX[:PROOF_HEX] ...]
Without PROOF_HEX only the proof that tlog-scales makes from the tiles is checked.
Prints the size and the root that were confirmed.
"""

import sys

from tlog_scales import backend, signing, tlog
from tlog_scales.reader import TilesReader

location, key_text, *proofs = sys.argv[1:]
reader = TilesReader(backend.make_backend(location))
checkpoint = reader.get_checkpoint()
checkpoint.verify(signing.Vkey.from_string(key_text))
assert reader.calculate_root_hash() == checkpoint.root_hash, "the tiles lead to another root"
for proof in proofs:
    old_size, old_root, *hashes = proof.split(":")
    theirs = reader.get_consistency_proof(int(old_size), checkpoint.size)
    theirs.check(bytes.fromhex(old_root), checkpoint.root_hash)
    if hashes:
        raw = bytes.fromhex(hashes[0])
        nodes = [raw[at : at + 32] for at in range(0, len(raw), 32)]
        assert theirs.node_hashes == nodes, f"another consistency proof from {old_size}"
        ours = tlog.ConsistencyProof(int(old_size), checkpoint.size, nodes)
        ours.check(bytes.fromhex(old_root), checkpoint.root_hash)
print(checkpoint.size, checkpoint.root_hash.hex())
