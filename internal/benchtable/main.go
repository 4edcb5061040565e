// Command benchtable makes of the output of `go test -bench` the table that BENCHMARKS.md
// keeps: of each line of work what it took, what it is measured against, and the ratio beside
// its target.
package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

func main() {
	if err := render(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "benchtable:", err)
		os.Exit(1)
	}
}

// line is one line of the table.
type line struct {
	work, against string
	// value is what is held against the target; plain, where set, is what it is divided by.
	value, plain metric
	target       float64 // 0: the line is to be known, and there is nothing to hold it against
	most         bool    // the target is the most, else the least
	format       string
}

// metric is one unit of one benchmark.
type metric struct{ benchmark, unit string }

func (m metric) show(value float64) string {
	if strings.HasSuffix(m.unit, "-ms") {
		return fmt.Sprintf("%.0f ms", value)
	}
	return fmt.Sprintf("%.0f/s", value)
}

const (
	speed = "%.2f"
	times = "%.2f ×"
	mib   = "%.0f MiB"

	seconds = "%.0f s"
	percent = "%.1f %%"
)

var lines = []line{
	{work: "comparison, nothing missing", against: "both stores drained at once, their speed",
		value: metric{"Compare/fields", "raw/etl"}, target: 0.90, format: speed},
	{work: "comparison of ids alone", against: "the ids of both stores drained at once, their speed",
		value: metric{"Compare/ids", "raw/etl"}, target: 0.90, format: speed},
	{work: "CPU of a comparison, user mode", against: "that of the two drains",
		value: metric{"Compare/fields", "cpu-etl/raw"}, target: 3, most: true, format: times},
	{work: "direct repair of a tenth, proof included", against: "the sum of its raw work",
		value: metric{"Direct", "etl/raw"}, target: 1.3, most: true, format: times},
	{work: "direct writes in batches of 100", against: "one COPY, its speed",
		value: metric{"Write/direct_100", "products/s"}, plain: metric{"Write/raw_copy", "products/s"}, target: 0.85, format: speed},
	{work: "direct writes in batches of 1,000", against: "one COPY, its speed",
		value: metric{"Write/direct_1000", "products/s"}, plain: metric{"Write/raw_copy", "products/s"}, target: 0.85, format: speed},
	{work: "replay publishing", against: "plain confirmed publishing at its best window, its speed",
		value: metric{"Publish/replay", "products/s"}, plain: metric{"Publish/raw", "products/s"}, target: 0.90, format: speed},
	{work: "the same", against: "the same with the headers and properties of our events",
		value: metric{"Publish/replay", "products/s"}, plain: metric{"Publish/rawdressed", "products/s"}, target: 0.90, format: speed},
	{work: "replay of 20,000, end to end", against: "a comparison, and the same events consumed",
		value: metric{"Replay/default", "etl/raw"}, target: 1.15, most: true, format: times},
	{work: "the same with REPLAY_MAX_QUEUE_DEPTH=1000", against: "a comparison, and the same events consumed",
		value: metric{"Replay/deep", "etl/raw"}, target: 1.15, most: true, format: times},
	{work: "lost (the queue was unbound) to proved, p99", against: "100 products created each second meanwhile",
		value: metric{"Freshness/unbound", "p99-s"}, target: 60, most: true, format: seconds},
	{work: "lost (the queue was unbound): CPU of the service, of one core", value: metric{"Freshness/unbound", "cpu-%"}, target: 5, most: true, format: percent},
	{work: "lost (acknowledged and not stored) to proved, p99", against: "100 products created each second meanwhile",
		value: metric{"Freshness/forgotten", "p99-s"}, target: 60, most: true, format: seconds},
	{work: "lost (acknowledged and not stored): CPU of the service, of one core", value: metric{"Freshness/forgotten", "cpu-%"}, target: 5, most: true, format: percent},
	{work: "lost (dropped by a length limit) to proved, p99", against: "100 products created each second meanwhile",
		value: metric{"Freshness/dropped", "p99-s"}, target: 60, most: true, format: seconds},
	{work: "lost (dropped by a length limit): CPU of the service, of one core", value: metric{"Freshness/dropped", "cpu-%"}, target: 5, most: true, format: percent},
	{work: "lost (never published) to proved, p99", against: "100 products created each second meanwhile",
		value: metric{"Freshness/unpublished", "p99-s"}, target: 120, most: true, format: seconds},
	{work: "lost (never published): CPU of the service, of one core", value: metric{"Freshness/unpublished", "cpu-%"}, target: 5, most: true, format: percent},
	{work: "transactions on the cart's table beside two drains, p99", against: "alone",
		value: metric{"Beside/comparison", "plain-p99-ms"}, plain: metric{"Beside/comparison", "alone-p99-ms"}, format: times},
	{work: "the same beside a comparison, p99", against: "alone",
		value: metric{"Beside/comparison", "full-p99-ms"}, plain: metric{"Beside/comparison", "alone-p99-ms"}, format: times},
	{work: "the same beside a comparison of 50,000 products a second, p99", against: "alone",
		value: metric{"Beside/comparison", "gentle-p99-ms"}, plain: metric{"Beside/comparison", "alone-p99-ms"}, format: times},
	{work: "live events (100/s) beside a replay of 20,000, to their rows, p99", against: "alone",
		value: metric{"Beside/replay", "replay-p99-ms"}, plain: metric{"Beside/replay", "alone-p99-ms"}, format: times},
	{work: "live events (50/s) beside a replay, a cart of 166 events/s, p99", against: "alone",
		value: metric{"Beside/slowreplay", "replay-p99-ms"}, plain: metric{"Beside/slowreplay", "alone-p99-ms"}, format: times},
	{work: "the same with REPLAY_MAX_QUEUE_DEPTH=50, p99", against: "alone",
		value: metric{"Beside/slowreplay", "replay50-p99-ms"}, plain: metric{"Beside/slowreplay", "alone-p99-ms"}, format: times},
	{work: "peak memory, 100,000 products, none missing", value: metric{"Memory/100000/none", "peak-MiB"}, target: 96, most: true, format: mib},
	{work: "peak memory, 100,000 products, a tenth missing", value: metric{"Memory/100000/tenth", "peak-MiB"}, target: 96, most: true, format: mib},
	{work: "peak memory, 100,000 products, all missing", value: metric{"Memory/100000/all", "peak-MiB"}, target: 96, most: true, format: mib},
	{work: "peak memory, 1,000,000 products, none missing", value: metric{"Memory/1000000/none", "peak-MiB"}, target: 96, most: true, format: mib},
	{work: "peak memory, 1,000,000 products, a tenth missing", value: metric{"Memory/1000000/tenth", "peak-MiB"}, target: 96, most: true, format: mib},
	{work: "peak memory, 1,000,000 products, all missing", value: metric{"Memory/1000000/all", "peak-MiB"}, target: 96, most: true, format: mib},
	{work: "peak memory, 5,000,000 products, none missing", value: metric{"Memory/5000000/none", "peak-MiB"}, target: 96, most: true, format: mib},
	{work: "peak memory, 5,000,000 products, a tenth missing", value: metric{"Memory/5000000/tenth", "peak-MiB"}, target: 96, most: true, format: mib},
	{work: "peak memory, 5,000,000 products, all missing", value: metric{"Memory/5000000/all", "peak-MiB"}, target: 96, most: true, format: mib},
}

// spread is how far the rounds of plain work, which is always the same, may lie apart on a
// machine that does nothing else: the slowest by the fastest.
const spread = 1.5

// result matches a line such as
//
//	BenchmarkDirect-2    5    1.93 etl/raw    23.9 etl-s
var result = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.+)$`)

// cpu matches what go test says of the machine.
var cpu = regexp.MustCompile(`^cpu: (.+)$`)

// measured are the values of all metrics; a benchmark may have run several times.
type measured map[metric][]float64

func read(from io.Reader) (all measured, machine string, err error) {
	all = make(measured)
	scanner := bufio.NewScanner(from)
	for scanner.Scan() {
		if found := cpu.FindStringSubmatch(scanner.Text()); found != nil {
			machine = found[1]
		}
		found := result.FindStringSubmatch(scanner.Text())
		if found == nil {
			continue
		}
		fields := strings.Fields(found[2])
		for i := 0; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, "", fmt.Errorf("%q is no number, in %q", fields[i], scanner.Text())
			}
			m := metric{found[1], fields[i+1]}
			all[m] = append(all[m], value)
		}
	}
	return all, machine, scanner.Err()
}

// median is that of the runs, false where there is none.
func (m measured) median(of metric) (float64, bool) {
	values := slices.Sorted(slices.Values(m[of]))
	if len(values) == 0 {
		return 0, false
	}
	return values[len(values)/2], true
}

// render writes the lines that were measured.
func render(from io.Reader, to io.Writer) error {
	all, machine, err := read(from)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(to, 0, 0, 1, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(table, "| "+strings.Join(cells, "\t| ")+"\t|") }
	row("work", "measured against", "plain", "etl", "ratio", "target", "")
	row("---", "---", "---", "---", "---", "---", "---")
	shown := 0
	for _, l := range lines {
		value, found := all.median(l.value)
		if !found {
			continue
		}
		plain, etl := all.seconds(l.value.benchmark, "raw-s"), all.seconds(l.value.benchmark, "etl-s")
		if l.plain != (metric{}) {
			by, found := all.median(l.plain)
			if !found || by == 0 {
				return fmt.Errorf("%s was measured, and %s was not", l.value.benchmark, l.plain.benchmark)
			}
			plain, etl = l.plain.show(by), l.value.show(value)
			value /= by
		}
		row(l.work, l.against, plain, etl, fmt.Sprintf(l.format, value), l.bound(), l.verdict(value))
		shown++
	}
	if shown == 0 {
		return fmt.Errorf("nothing was measured that the table has a line for")
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if machine != "" {
		fmt.Fprintf(to, "\n%s, %d cores, %s\n", machine, runtime.NumCPU(), runtime.Version())
	}
	for _, m := range slices.SortedFunc(maps.Keys(all), func(a, b metric) int { return strings.Compare(a.benchmark, b.benchmark) }) {
		if apart, _ := all.median(m); m.unit == "raw-spread" && apart > spread {
			fmt.Fprintf(to, "\n%s: the plain work took %.1f times as long in its slowest round as in its fastest. Something else was busy; measure again.\n", m.benchmark, apart)
		}
	}
	return nil
}

func (m measured) seconds(benchmark, unit string) string {
	value, found := m.median(metric{benchmark, unit})
	if !found {
		return ""
	}
	return fmt.Sprintf("%.1f s", value)
}

func (l *line) bound() string {
	if l.target == 0 {
		return ""
	}
	if l.most {
		return "≤ " + fmt.Sprintf(l.format, l.target)
	}
	return "≥ " + fmt.Sprintf(l.format, l.target)
}

func (l *line) verdict(value float64) string {
	if l.target == 0 {
		return ""
	}
	if l.most == (value <= l.target) || value == l.target {
		return "met"
	}
	return "missed"
}
