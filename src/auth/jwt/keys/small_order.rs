//! The points of Curve25519 with which a signature says nothing: RFC 8725 section 3.4, RFC 8032 section 8.9.

/// The y coordinates of the points whose order is 1, 2, 4 or 8, the least byte first, also as they are written with the
/// prime added. Without the bit that is the sign of x.
const SMALL: [[u8; 32]; 7] = {
    const fn number(first: u8, rest: u8, last: u8) -> [u8; 32] {
        let mut bytes = [rest; 32];
        bytes[0] = first;
        bytes[31] = last;
        bytes
    }
    [
        number(0, 0, 0),
        number(1, 0, 0),
        // p - 1, p, p + 1
        number(0xec, 0xff, 0x7f),
        number(0xed, 0xff, 0x7f),
        number(0xee, 0xff, 0x7f),
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ]
};

/// Returns whether an Ed25519 key of 32 bytes is such a point.
pub(super) fn is_small_order(key: &[u8]) -> bool {
    let Some((last, rest)) = key.split_last() else {
        return false;
    };
    SMALL
        .iter()
        .any(|small| rest == &small[..31] && last & 0x7f == small[31])
}
