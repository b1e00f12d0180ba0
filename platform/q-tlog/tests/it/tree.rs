//! Roots, tiles and proofs against the recursive definitions.

use proptest::prelude::*;
use q_tlog::{
    EMPTY_ROOT, Hash, ProofError, ReadError, TileId, Tree, consistency_proof, inclusion_proof, leaf_hash,
    merkle_root, node_hash, root_at, verify_consistency, verify_inclusion,
};

use crate::{entry, sample_log};

/// `k` of RFC 9162 section 2.1.1: the largest power of two smaller than `n`.
fn split(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

fn naive_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = split(leaves.len());
    let (mut path, sibling) = if index < k {
        (naive_path(index, &leaves[..k]), naive_root(&leaves[k..]))
    } else {
        (naive_path(index - k, &leaves[k..]), naive_root(&leaves[..k]))
    };
    path.push(sibling);
    path
}

fn naive_subproof(old: usize, leaves: &[Hash], is_whole: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if is_whole { Vec::new() } else { vec![naive_root(leaves)] };
    }
    let k = split(leaves.len());
    let (mut path, sibling) = if old <= k {
        (naive_subproof(old, &leaves[..k], is_whole), naive_root(&leaves[k..]))
    } else {
        (naive_subproof(old - k, &leaves[k..], false), naive_root(&leaves[..k]))
    };
    path.push(sibling);
    path
}

fn leaves(size: u64) -> Vec<Hash> {
    (0..size).map(|index| leaf_hash(&entry(index))).collect()
}

#[test]
fn small_trees_agree_with_the_definition_at_every_index_and_every_pair_of_sizes() {
    let size_max = 40;
    let all = leaves(size_max);
    for size in 0..=size_max {
        let (tree, mut tiles) = sample_log(size, 7);
        let current = &all[..size as usize];
        let root = naive_root(current);
        assert_eq!(tree.root(), root);
        assert_eq!(merkle_root((0..size).map(entry)), root);
        for index in 0..size {
            let path = inclusion_proof(&mut tiles, index, size).unwrap();
            assert_eq!(path, naive_path(index as usize, current), "leaf {index} of {size}");
            assert_eq!(verify_inclusion(&all[index as usize], index, size, &path, &root), Ok(()));
        }
        for old in 0..=size {
            let path = consistency_proof(&mut tiles, old, size).unwrap();
            let old_root = naive_root(&all[..old as usize]);
            if old > 0 {
                assert_eq!(path, naive_subproof(old as usize, current, true), "{old} to {size}");
            }
            assert_eq!(verify_consistency(old, &old_root, size, &root, &path), Ok(()));
            assert_eq!(root_at(&mut tiles, old).unwrap(), old_root);
        }
    }
}

#[test]
fn what_lies_outside_the_tree_has_no_proof() {
    let (_, mut tiles) = sample_log(5, 5);
    assert!(matches!(inclusion_proof(&mut tiles, 5, 5), Err(ReadError::OutOfRange { asked: 5, size: 5 })));
    assert!(matches!(consistency_proof(&mut tiles, 6, 5), Err(ReadError::OutOfRange { asked: 6, size: 5 })));
    assert!(matches!(inclusion_proof(&mut tiles, 0, 6), Err(ReadError::Missing(TileId { level: 0, .. }))));
    assert_eq!(verify_inclusion(&EMPTY_ROOT, 0, 0, &[], &EMPTY_ROOT), Err(ProofError::OutOfRange));
}

#[test]
fn reopening_from_tiles_continues_the_same_tree() {
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 700, 65_535, 65_536, 65_537, 65_800] {
        let (mut tree, mut tiles) = sample_log(size, 1000);
        let mut reopened = Tree::open(size, &mut tiles).unwrap();
        assert_eq!(reopened, tree, "{size}");
        for index in size..size + 300 {
            let leaf = leaf_hash(&entry(index));
            assert_eq!((reopened.append(leaf), tree.append(leaf)), (index, index));
        }
        assert_eq!(reopened.root(), tree.root());
        assert_eq!(reopened.take_grown_tiles(), tree.take_grown_tiles());
    }
}

#[test]
fn a_tree_of_70_000_leaves_has_the_tiles_of_the_specification() {
    let (_, tiles) = sample_log(70_000, 997);
    let mut widths: Vec<(u8, u64, usize)> =
        tiles.0.iter().map(|((level, index), hashes)| (*level, *index, hashes.len())).collect();
    widths.sort_unstable();
    let level_0: Vec<_> = widths.iter().filter(|(level, ..)| *level == 0).collect();
    assert_eq!(level_0.len(), 274);
    assert_eq!(level_0.last(), Some(&&(0, 273, 112)));
    assert_eq!(widths[274..], [(1, 0, 256), (1, 1, 17), (2, 0, 1)]);
    let listed: Vec<_> =
        TileId::all_at(70_000).map(|id| (id.level, id.index, usize::from(id.width))).collect();
    assert_eq!(listed, widths);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn large_trees_agree_with_the_definition(
        size in 1_u64..3_000, batch in 1_u64..600, index in any::<prop::sample::Index>(), old in any::<prop::sample::Index>(),
    ) {
        let all = leaves(size);
        let (tree, mut tiles) = sample_log(size, batch);
        let root = naive_root(&all);
        prop_assert_eq!(tree.root(), root);
        let index = index.index(all.len());
        let path = inclusion_proof(&mut tiles, index as u64, size).unwrap();
        prop_assert_eq!(&path, &naive_path(index, &all));
        prop_assert_eq!(verify_inclusion(&all[index], index as u64, size, &path, &root), Ok(()));
        let old = old.index(all.len()) + 1;
        let path = consistency_proof(&mut tiles, old as u64, size).unwrap();
        prop_assert_eq!(&path, &naive_subproof(old, &all, true));
        let old_root = naive_root(&all[..old]);
        prop_assert_eq!(verify_consistency(old as u64, &old_root, size, &root, &path), Ok(()));
    }

    #[test]
    fn a_changed_proof_is_refused(
        size in 2_u64..600, index in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0_u8..8,
    ) {
        let all = leaves(size);
        let (tree, mut tiles) = sample_log(size, 50);
        let root = tree.root();
        let index = index.index(all.len()) as u64;
        let path = inclusion_proof(&mut tiles, index, size).unwrap();
        let leaf = all[index as usize];
        let mut bent = path.clone();
        bent[at.index(path.len())][5] ^= 1 << bit;
        prop_assert!(verify_inclusion(&leaf, index, size, &bent, &root).is_err());
        prop_assert!(verify_inclusion(&leaf, index, size, &path[1..], &root).is_err());
        prop_assert!(verify_inclusion(&leaf, index, size, &[path.clone(), vec![leaf]].concat(), &root).is_err());
        let other = (index + 1) % size;
        prop_assert!(verify_inclusion(&leaf, other, size, &path, &root).is_err());
        prop_assert!(verify_inclusion(&leaf, size, size, &path, &root).is_err());
    }

    #[test]
    fn a_rewritten_history_is_not_consistent(
        size in 2_u64..600, old in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
    ) {
        let all = leaves(size);
        let (tree, mut tiles) = sample_log(size, 50);
        let old = old.index(all.len() - 1) + 1;
        let path = consistency_proof(&mut tiles, old as u64, size).unwrap();
        let mut rewritten = all[..old].to_vec();
        rewritten[at.index(old)][0] ^= 1;
        let (old_root, root) = (naive_root(&all[..old]), tree.root());
        let check = |old_root: &Hash, path: &[Hash]| verify_consistency(old as u64, old_root, size, &root, path);
        prop_assert!(check(&naive_root(&rewritten), &path).is_err());
        prop_assert!(check(&old_root, &path[1..]).is_err());
        prop_assert!(check(&old_root, &[path.clone(), vec![root]].concat()).is_err());
        prop_assert_eq!(check(&old_root, &path), Ok(()));
    }
}
