"""Cases of einsum."""

from nanograd.check.cases.case import Case, case, normal, strided, transposed

CASES: dict[str, list[Case]] = {
    "einsum": [
        case("matmul", normal(2, 3), normal(3, 4), spec="ik,kj->ij"),
        case("batched", normal(2, 2, 3), normal(2, 3, 2), spec="bik,bkj->bij"),
        case("scores", normal(2, 3, 2), normal(2, 4, 2), spec="htd,hsd->hts"),
        case("dot", normal(3), normal(3), spec="i,i->"),
        case("outer", normal(2), normal(3), spec="i,j->ij"),
        case("transpose", normal(2, 3), spec="ij->ji"),
        case("sum of an axis", normal(2, 3), spec="ij->j"),
        case("sum of all", normal(2, 3), spec="ij->"),
        case("an axis of one operand alone", normal(2, 3), normal(3), spec="ij,j->j"),
        case("two axes of one operand alone", normal(2, 3, 2), normal(3), spec="ijk,j->j"),
        case("three operands", normal(2, 3), normal(3, 2), normal(2), spec="ij,jk,k->i"),
        case("no arrow", normal(2, 3), normal(3, 4), spec="ij,jk"),
        case("dots", normal(2, 2, 3), normal(3, 4), spec="...ik,kj->...ij"),
        case("dots on both", normal(2, 2, 3), normal(2, 3, 2), spec="...ik,...kj->...ij"),
        case("dots of different length", normal(2, 2, 2, 3), normal(2, 3, 2), spec="...ik,...kj->...ij"),
        case("dots summed", normal(2, 2, 3), spec="...i->i"),
        case("an axis of size one is stretched", normal(1, 3), normal(2, 3), spec="ij,ij->ij"),
        case("an axis of size one is stretched and summed", normal(2, 1), normal(2, 3), spec="ij,ij->i"),
        case("no entries", normal(0, 3), normal(3, 2), spec="ik,kj->ij"),
        case("column order", transposed(normal(2, 3)), transposed(normal(3, 2)), spec="ik,kj->ij"),
        case("strided", strided(normal(2, 3)), strided(normal(3, 2)), spec="ik,kj->ij"),
    ]
}
