"""Which columns of a file are features: by names, and without the names of the items."""

from __future__ import annotations

import numpy as np
import pytest
from data_files import npy, parquet, refusal

from twinplate.data.columns import Fitted, Wanted, split_names
from twinplate.data.readers import load_generative, load_matrix

# text, the features that are left of it, the columns that name the items, their names
NAMED = [
    (",a,b\n0,5,6\n1,7,8\n", "a b", ["column 1"], ("0", "1")),
    (",a,b\n17,5,6\n4,7,8\n", "a b", ["column 1"], ("17", "4")),  # a part of a frame, shuffled
    (",a,b\nAnn,5,6\nBob,7,8\n", "a b", ["column 1"], ("Ann", "Bob")),
    (",a,b\n0.5,5,6\n1.5,7,8\n", "column 1 a b", [], ()),
    (",a,b\n3,5,6\n3,7,8\n", "column 1 a b", [], ()),  # two alike
    (",0,1\n0,5,6\n1,7,8\n", "0 1", ["column 1"], ("0", "1")),  # a frame without names
    ("Unnamed: 0,a\n4,5\n5,7\n", "a", ["Unnamed: 0"], ("4", "5")),
    ("a,patient_id\n5,007\n7,12\n", "a", ["patient_id"], ("007", "12")),
    ("sampleID,a\nx1,5\nx2,7\n", "a", ["sampleID"], ("x1", "x2")),
    (",ID,a\n0,9,5\n1,8,7\n", "a", ["column 1", "ID"], ("9", "8")),
    ("id,a\n1,5\n1,7\n", "id a", [], ()),
    ("humid,acid\n1,5\n2,7\n", "humid acid", [], ()),
    ("0,5\n1,7\n2,9\n", "column 2", ["column 1"], ("0", "1", "2")),
    ("1,5\n2,7\n3,9\n", "column 2", ["column 1"], ("1", "2", "3")),
    ("0,5\n1,7\n3,9\n", "column 1 column 2", [], ()),
    ("2,5\n3,7\n4,9\n", "column 1 column 2", [], ()),
    (
        "level_0,index,a\n0,0,5\n1,1,7\n",
        "a",
        ["level_0", "index"],
        ("0", "1"),
    ),  # reset_index, twice
    ("a,b\nx1,5,6\nx2,7,8\n", "a b", ["column 1"], ("x1", "x2")),  # R's write.table
    ('"a","b"\n"1",5,6\n"2",7,8\n', "a b", ["column 1"], ("1", "2")),
    ("0,1,2\n0.5,6,7\n1.5,7,8\n", "0 1 2", [], ()),  # pandas, without names
    ("0,1,2,3,4,5\n5,6,7,5,5,6\n9,7,8,8,8,8\n", "0 1 2 3 4 5", [], ()),
    ("2001,2002,2003\n0.5,6,7\n1.5,7,8\n", "2001 2002 2003", [], ()),
    ("1,2,3\n5,6,7\n7,7,8\n", "column 1 column 2 column 3", [], ()),  # three ratings
    ("1,2,3\n,6,7\n7,7,8\n", "column 1 column 2 column 3", [], ()),
    ("1,2,4\n0.5,6,7\n1.5,7,8\n", "column 1 column 2 column 3", [], ()),
    ("1.0,2.0,3.0\n0.5,6,7\n1.5,7,8\n", "column 1 column 2 column 3", [], ()),
]


@pytest.mark.parametrize(("text", "features", "ids", "items"), NAMED)
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_names_of_items_are_no_feature(write, text, features, ids, items, suffix):
    text = text.replace(",", "\t") if suffix == "tsv" else text
    table = load_matrix(write(text, f"data.{suffix}"))
    assert " ".join(table.columns) == features
    assert (list(table.id_columns), table.items, table.left_out) == (ids, items, ())


BEHIND_NAMES = [
    (
        "country,2001,2002,2003\nFrance,5,6,7\nPeru,7,8,5\n",
        "country",
        (),
        "2001 2002 2003",
        "France",
    ),
    ("site,plot,0,1,2\nA,a,0.5,6,7\nB,b,1.5,7,8\n", "site", ("plot",), "0 1 2", "A"),
    ("Ann,1,2,3\nBob,5,6,7\n", "column 1", (), "column 2 column 3 column 4", "Ann"),
]


@pytest.mark.parametrize(("text", "id_column", "drop", "features", "first"), BEHIND_NAMES)
def test_numbers_that_count_name_columns_behind_names_too(
    write, text, id_column, drop, features, first
):
    chosen = Wanted(id_column=id_column, drop=drop).choose
    table = load_matrix(write(text), None, chosen)
    assert " ".join(table.columns) == features and table.items[0] == first


@pytest.mark.parametrize("mark", [";", ",", "\t", "|"])
def test_a_line_of_excels_says_what_separates_cells(write, mark):
    text = "sep=|\r\nhumid|acid\r\n1.5|2\r\n|4\r\n".replace("|", mark)
    table = load_matrix(write(text))
    assert table.columns == ("humid", "acid")
    np.testing.assert_array_equal(table.x, [[1.5, 2.0], [np.nan, 4.0]])
    assert "line 3" in refusal(load_matrix, write(text.replace("1.5", "wet")))


def test_one_cell_too_many_is_no_name_of_an_item(write):
    for text in ("a,b\n1,5,\n2,7,\n", "a,b\n3,5,7\n4,5,7\n"):
        assert "line 2: found 3 cells, expected 2" in refusal(load_matrix, write(text))


def test_other_formats_have_names_of_items_too(write, monkeypatch):
    for name in ("uuid", ""):
        table = load_matrix(write(parquet(**{name: ["x", "y"], "a": [1.0, 2.0]}), "data.parquet"))
        assert (table.columns, table.items) == (("a",), ("x", "y"))
    x = np.arange(8.0)[:, None] * [1, 2, 3] + [0, 5, 5]
    for most in (0, 10_000):
        monkeypatch.setattr("twinplate.data.readers.MAPPED_BYTES", most)
        table = load_matrix(write(npy(x), "data.npy"))
        np.testing.assert_array_equal(table.x, x[:, 1:])
        chosen = Wanted(columns=("column 3", "column 1")).choose
        np.testing.assert_array_equal(
            load_matrix(write(npy(x), "data.npy"), None, chosen).x, x[:, [2, 0]]
        )


TEXT = ",name,b,a,id\n0,Ann,1,2,8\n1,Bob,3,4,9\n"


def test_columns_are_asked_for_by_name(write):
    path = write(TEXT)
    chosen = load_matrix(path, None, Wanted(columns=("a", "b")).choose)
    assert (chosen.columns, chosen.x.tolist()) == (("a", "b"), [[2, 1], [4, 3]])
    assert chosen.left_out == ("column 1", "name", "id")
    rest = load_matrix(path, None, Wanted(drop=("b",), id_column="name").choose)
    assert (rest.columns, rest.left_out) == (("a",), ("b",))
    assert rest.items == ("Ann", "Bob") and set(rest.id_columns) == {"column 1", "name", "id"}
    kept = load_matrix(path, None, Wanted(columns=("id", "a")).choose)
    assert kept.columns == ("id", "a") and kept.id_columns == ()
    assert split_names('a, "b, c",') == ("a", "b, c")


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (
            Wanted(),
            "column 2 ('name') holds 'Ann', which is no number; leave the column out, with --drop",
        ),
        (Wanted(columns=("a", "c")), "no column c; it has column 1, name, b, a, id"),
        (Wanted(columns=("a", "a")), "'a' is asked for twice"),
        (Wanted(columns=("a",), drop=("a",)), "'a' is asked for in two ways"),
        (Wanted(drop=("name", "a", "b", "id", "column 1")), "all its columns are left out"),
    ],
)
def test_columns_that_cannot_be_had(write, wanted, told):
    assert told in refusal(load_matrix, write(TEXT), None, wanted.choose)


FITTED = Fitted(("a", "b"), True, left_out=("label",), id_columns=("column 1",))


@pytest.mark.parametrize(
    ("text", "x"),
    [
        ("b,a\n1,2\n", [[2, 1]]),
        ("b,label,a\n1,x,2\n", [[2, 1]]),
        (",b,a\n7,1,2\n7,3,4\n", [[2, 1], [4, 3]]),  # named twice, as a bootstrap does
        ("b,a,visit_id\n1,2,3.5\n", [[2, 1]]),
        ("1,2\n", [[1, 2]]),
        ("9,1,2\n9,1,2\n", [[1, 2], [1, 2]]),
    ],
)
def test_features_of_a_run_are_found_again(write, text, x):
    assert load_matrix(write(text), None, FITTED.choose).x.tolist() == x


def test_a_run_whose_columns_are_not_there(write):
    message = refusal(load_matrix, write("b,A,c,d\n1,2,3,4\n"), None, FITTED.choose)
    assert "missing: a; unknown: A, c, d" in message and "--drop" in message
    assert "'b' is there" in refusal(load_matrix, write("b,a,b\n1,2,3\n"), None, FITTED.choose)
    needed = Fitted(("a", "b"), True, also=Wanted(drop=("a",)))
    assert "'a' is a feature of the run" in refusal(
        load_matrix, write("a,b\n1,2\n"), None, needed.choose
    )


def test_a_run_without_names_takes_columns_by_place(write):
    run = Fitted(("column 1", "column 2"), False)
    assert load_matrix(write("b,a\n1,2\n"), None, run.choose).x.tolist() == [[1, 2]]
    # a run of before, on an index that was taken for a feature
    old = Fitted(("column 1", "a"), True)
    assert load_matrix(write(",a\n0,5\n1,7\n"), None, old.choose).x.tolist() == [[0, 5], [1, 7]]


def test_rows_of_loadings_are_found_by_name(write):
    path = write(",one,two\nheight,1,2\nmass,3,4\n")
    assert load_generative(path, ("mass", "height"))["loadings"].tolist() == [[3, 4], [1, 2]]
    assert "missing age; unknown mass" in refusal(load_generative, path, ("height", "age"))
    counting = write("0,5\n1,6\n2,7\n")  # without names it is a component like others
    assert load_generative(counting)["loadings"].shape == (3, 2)
