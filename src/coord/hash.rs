//! Which partition of an internal topic serves a key. Clients and every broker must agree, so it is Java's hash.

/// The partition of `__consumer_offsets` (or `__transaction_state`) for `group`: Java's `String.hashCode` over UTF-16
/// code units, its absolute value with `i32::MIN` taken as 0, modulo `partitions`. 0 when `partitions` is not positive.
pub fn partition_for(group: &str, partitions: i32) -> i32 {
    if partitions <= 0 {
        return 0;
    }
    let hash = group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0) % partitions
}

#[cfg(test)]
mod tests {
    use super::partition_for;

    #[test]
    fn the_partition_of_a_group_is_that_of_javas_string_hash() {
        // The hash codes are those that Java prints.
        assert_eq!(partition_for("abc", 50), 96354 % 50);
        assert_eq!(partition_for("my-group", 50), 1906497762 % 50, "a negative hash");
        assert_eq!(partition_for("", 50), 0);
        assert_eq!(partition_for("polygenelubricants", 50), 0, "its hash is Integer.MIN_VALUE");
        assert_eq!(partition_for("abc", 0), 0);
    }

    #[test]
    fn characters_beyond_the_basic_plane_count_as_two_units() {
        // U+1F600 is the pair D83D DE00: 0xD83D * 31 + 0xDE00.
        assert_eq!(partition_for("\u{1F600}", i32::MAX), 0xD83D * 31 + 0xDE00);
    }
}
