package main

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	t.Parallel()
	const output = `goos: linux
cpu: a processor
BenchmarkCompare/fields-2   5   0 ns/op   2.93 cpu-etl/raw   8.0 etl-s   0.95 raw/etl   7.6 raw-s   1.10 raw-spread
    bench_test.go:12: both drains   0.1 s
BenchmarkDirect-2   5   1.41 etl/raw   23 etl-s   16 raw-s   1.81 raw-spread
BenchmarkWrite/raw_copy-2     1   9 ns/op   100 products/s
BenchmarkWrite/raw_copy-2     1   9 ns/op   300 products/s
BenchmarkWrite/raw_copy-2     1   9 ns/op   200 products/s
BenchmarkWrite/direct_100-2   1   9 ns/op   170 products/s
PASS
`
	var got strings.Builder
	if err := render(strings.NewReader(output), &got); err != nil {
		t.Fatal(err)
	}
	var cells []string
	for row := range strings.Lines(got.String()) {
		cells = append(cells, strings.Join(strings.Fields(row), " "))
	}
	want := []string{
		"| work | measured against | plain | etl | ratio | target | |",
		"| --- | --- | --- | --- | --- | --- | --- |",
		"| comparison, nothing missing | both stores drained at once, their speed | 7.6 s | 8.0 s | 0.95 | ≥ 0.90 | met |",
		"| CPU of a comparison, user mode | that of the two drains | 7.6 s | 8.0 s | 2.93 × | ≤ 3.00 × | met |",
		"| direct repair of a tenth, proof included | the sum of its raw work | 16.0 s | 23.0 s | 1.41 × | ≤ 1.30 × | missed |",
		"| direct writes in batches of 100 | one COPY, its speed | 200/s | 170/s | 0.85 | ≥ 0.85 | met |",
		"",
		fmt.Sprintf("a processor, %d cores, %s", runtime.NumCPU(), runtime.Version()),
		"",
		"Direct: the plain work took 1.8 times as long in its slowest round as in its fastest. Something else was busy; measure again.",
	}
	if len(cells) != len(want) {
		t.Fatalf("got\n%s", &got)
	}
	for i := range want {
		if cells[i] != want[i] {
			t.Errorf("row %d is\n%q, want\n%q", i, cells[i], want[i])
		}
	}
}

func TestTableNeedsBothSides(t *testing.T) {
	t.Parallel()
	for output, want := range map[string]string{
		"PASS\n":                             "nothing was measured",
		"BenchmarkOther-2 1 5 ns/op\n":       "nothing was measured",
		"BenchmarkDirect-2 1 much etl/raw\n": `"much" is no number`,
		"BenchmarkWrite/direct_100-2 1 9 ns/op 170 products/s\n": "Write/raw_copy was not",
	} {
		if err := render(strings.NewReader(output), &strings.Builder{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("of %q: %v, want %q", output, err, want)
		}
	}
}
