//! Paths and bundles: one spelling each, and no bytes that crash the reader.

use proptest::prelude::*;
use q_tlog::{LogResource, TileId, bundle};

#[test]
fn reads_and_writes_the_paths_of_the_specification() {
    let tile = |level, index, width| LogResource::Tile(TileId { level, index, width });
    for (path, resource) in [
        ("checkpoint", LogResource::Checkpoint),
        ("tile/0/000", tile(0, 0, 256)),
        ("tile/0/x001/x234/067", tile(0, 1_234_067, 256)),
        ("tile/0/273.p/112", tile(0, 273, 112)),
        ("tile/63/001", tile(63, 1, 256)),
        ("tile/1/x001/000.p/1", tile(1, 1000, 1)),
        ("tile/entries/x001/x234/067.p/255", LogResource::Entries { index: 1_234_067, width: 255 }),
    ] {
        assert_eq!(path.parse(), Ok(resource), "{path}");
        assert_eq!(resource.to_string(), path);
    }
}

#[test]
fn refuses_every_other_spelling() {
    for path in [
        "",
        "/checkpoint",
        "checkpoint/",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/64/000",
        "tile/00/000",
        "tile/+0/000",
        "tile/-1/000",
        "tile/0/x000/001",
        "tile/0/001/001",
        "tile/0/x01/001",
        "tile/0/000.p",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/1/",
        "tile/0/000.p/1.p/1",
        "tile/entries/",
        "tile/entry/000",
        "tile/0/x0é/001",
        "tile/0/../000",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert!(path.parse::<LogResource>().is_err(), "{path}");
    }
}

#[test]
fn a_bundle_holds_what_the_specification_allows() {
    assert_eq!(bundle::encode([vec![0; 65_536]]), Err(bundle::BundleError::EntryTooLong));
    assert_eq!(bundle::encode(vec![b""; 257]), Err(bundle::BundleError::TooMany));
    assert_eq!(bundle::decode(&[0; 514]), Err(bundle::BundleError::TooMany));
    assert_eq!(bundle::decode(&[0]), Err(bundle::BundleError::Truncated));
    assert_eq!(bundle::decode(&[0, 2, 9]), Err(bundle::BundleError::Truncated));
    assert_eq!(bundle::decode(&[0, 1, 9, 0, 0]), Ok(vec![&[9][..], &[]]));
}

proptest! {
    #[test]
    fn every_name_reads_back(level in 0_u8..8, index in 0_u64..1 << 40, width in 1_u16..=256) {
        let resource = LogResource::Tile(TileId { level, index, width });
        prop_assert_eq!(resource.to_string().parse(), Ok(resource));
    }

    #[test]
    fn what_reads_is_the_only_spelling(path in "tile/([0-9]{1,2}|entries)/(x[0-9]{3}/){0,3}[0-9]{3}(\\.p/[0-9]{1,3})?") {
        if let Ok(resource) = path.parse::<LogResource>() {
            prop_assert_eq!(resource.to_string(), path);
        }
    }

    #[test]
    fn bundles_read_back(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..256)) {
        let bytes = bundle::encode(&entries).unwrap();
        prop_assert_eq!(bundle::decode(&bytes).unwrap(), entries);
    }

    #[test]
    fn hostile_bundles_are_refused_not_followed(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        if let Ok(entries) = bundle::decode(&bytes) {
            prop_assert_eq!(bundle::encode(entries).unwrap(), bytes);
        }
    }
}
