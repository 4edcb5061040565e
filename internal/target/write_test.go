package target

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ecom-micro/etl/internal/postgres"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestReserveGrantsAPiece(t *testing.T) {
	t.Parallel()
	w := &Writer{}
	for want, granted := range map[int]int{1: 1, 99: 99, product.Piece: product.Piece, 10_000: product.Piece} {
		if n, err := w.Reserve(t.Context(), product.Stale, want, nil); n != granted || err != nil {
			t.Errorf("%d of %d are granted, %v", n, want, err)
		}
	}
}

// Any number of repairs, of any size, each with its result in its place.
func TestRepairOfABigBatch(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	target := described(t, db.URL, "public")
	writer := writerOf(t, target)
	const n = 20_000
	rows := make([]product.Row, n)
	updates := make([]product.Repair, n)
	ids := make([]product.ID, n)
	for i := range rows {
		ids[i] = product.ID(fmt.Sprintf("id%05d", i))
		rows[i] = row(string(ids[i]), int64(i))
		if i%2000 == 0 {
			rows[i].Values[product.Image] = product.TextValue(strings.Repeat("x", 2<<20))
		}
		updates[i] = product.Repair{Row: row(string(ids[i]), int64(-i)), Was: rows[i], Fields: []product.Field{product.Price}}
		if i%3 == 0 {
			updates[i].Fields = []product.Field{product.Price, product.Title}
		}
	}
	price := func(when string, want int64) {
		t.Helper()
		var sum int64
		if err := db.Pool.QueryRow(t.Context(), "SELECT coalesce(sum(price), 0) FROM product").Scan(&sum); err != nil || sum != want {
			t.Errorf("%s: the sum of prices is %d, %v; want %d", when, sum, err, want)
		}
	}
	for _, tt := range []struct {
		kind    product.Kind
		repairs []product.Repair
		sum     int64
	}{
		{product.Missing, repairsOf(rows...), n * (n - 1) / 2},
		{product.Stale, updates, -n * (n - 1) / 2},
		{product.Orphaned, removalsOf(ids...), 0},
	} {
		results, err := writer.Repair(t.Context(), tt.kind, 1, tt.repairs)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if r != confirmed(ids[i]) {
				t.Fatalf("%s: result %d is %+v", tt.kind, i, r)
			}
		}
		price(string(tt.kind), tt.sum)
	}
	for _, kind := range product.Kinds() {
		if results, err := writer.Repair(t.Context(), kind, 1, nil); err != nil || len(results) != 0 {
			t.Errorf("no %s: %+v, %v", kind, results, err)
		}
	}
}

func TestTransactionsAreBoundedByBytes(t *testing.T) {
	t.Parallel()
	sized := func(sizes ...int) []change {
		repairs := make([]product.Repair, len(sizes))
		for i, size := range sizes {
			repairs[i].Row.Values[product.Title] = product.TextValue(strings.Repeat("x", size/2))
			repairs[i].Was.Values[product.Image] = product.TextValue(strings.Repeat("x", size/2))
		}
		return changesOf(repairs)
	}
	const most = transactionSize - 100 // an absent value counts a few bytes
	for _, tt := range []struct {
		sizes []int
		want  []int // changes of each transaction
	}{
		{nil, nil},
		{[]int{0, 10, 100}, []int{3}},
		{[]int{most}, []int{1}},
		{[]int{10, most, 10}, []int{1, 1, 1}},
		{[]int{most / 2, most / 2, most / 2, most / 2, most / 2}, []int{2, 2, 1}},
		{[]int{most / 2, most/2 + 200, most / 2, 10}, []int{1, 1, 2}},
		{[]int{3 * most, 3 * most, 1}, []int{1, 1, 1}},
	} {
		var got []int
		for part := range transactions(sized(tt.sizes...)) {
			got = append(got, len(part))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%d: transactions of %d, want %d", tt.sizes, got, tt.want)
		}
	}
}

func TestUnanswered(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"an answer", nil, false},
		{"refused", fmt.Errorf("write: %w", &pgconn.PgError{Code: "23514"}), false},
		{"shut down", &pgconn.PgError{Code: "57P01"}, false},
		{"a pooler that lost the server", &pgconn.PgError{Code: "08P01", Message: "server conn crashed?"}, true},
		{"reset", &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, true},
		{"out of time", context.DeadlineExceeded, true},
		{"closed, perhaps behind the statement", fmt.Errorf("commit: %w", pgconn.ErrConnClosed), true},
		{"never connected", &pgconn.ConnectError{}, false},
	} {
		if got := postgres.Unanswered(tt.err); got != tt.want {
			t.Errorf("%s: unanswered %t", tt.name, got)
		}
	}
}
