use super::*;

#[test]
fn what_an_event_is_about_reads_back() {
    for token in [
        Token::Spawner,
        Token::Door { door: u32::MAX, index: u8::MAX },
        Token::Client(1),
        Token::Peer((1 << 60) - 1),
        Token::Lookup(7),
    ] {
        assert_eq!(Token::of(token.data()), token);
    }
}

#[test]
fn gates_count_from_different_numbers() {
    let firsts: HashSet<u64> = (0..8).map(|_| first_id().unwrap()).collect();
    assert_eq!(firsts.len(), 8);
    assert!(firsts.iter().all(|first| *first < 1 << 52));
}
