use proptest::prelude::*;

use super::*;

fn natural(mut value: u128) -> Natural {
    let mut limbs = Vec::new();
    while value > 0 {
        limbs.push(value as u32);
        value >>= 32;
    }
    Natural(limbs)
}

#[test]
fn binomials_are_those_of_pascals_triangle() {
    let mut row = vec![1_u128];
    for all in 0..100 {
        for (chosen, ways) in row.iter().enumerate() {
            assert_eq!(Natural::binomial(all, chosen as u32), natural(*ways), "{all} {chosen}");
        }
        let inner = row.windows(2).map(|two| two[0] + two[1]);
        row = std::iter::once(1).chain(inner).chain([1]).collect();
    }
    assert_eq!(Natural::binomial(3, 4), Natural::zero());
}

proptest! {
    #[test]
    fn arithmetic_agrees_with_that_of_128_bits(a in 0..1_u128 << 90, b in 0..1_u128 << 90, f in 1_u32.., bits in 0_u32..37) {
        let (mut product, mut sum, mut doubled) = (natural(a), natural(a), natural(a));
        product.multiply(f);
        prop_assert_eq!(&product, &natural(a * u128::from(f)));
        product.divide(f);
        prop_assert_eq!(&product, &natural(a));
        sum.add(&natural(b));
        prop_assert_eq!(sum, natural(a + b));
        let mut quotient = natural(a);
        quotient.divide(f);
        prop_assert_eq!(quotient, natural(a / u128::from(f)));
        let mut halved = natural(a);
        halved.halve(2 * bits);
        prop_assert_eq!(halved, natural(a >> (2 * bits)));
        doubled.double(bits);
        prop_assert_eq!(doubled, natural(a << bits));
        prop_assert_eq!(natural(a).cmp(&natural(b)), a.cmp(&b));
    }
}
