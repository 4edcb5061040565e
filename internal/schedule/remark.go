package schedule

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/robfig/cron/v3"
)

// A step counts within its field and begins anew with the field, so "every 90 minutes" is
// the same as "at minute 0" to cron, and "every 45 minutes" is 45 and 15 minutes in turn.

// clocks are the fields in which a step is read as an interval: how many values there are
// before they begin anew, and the unit of "@every".
var clocks = map[string]struct {
	size  int
	every string // of one of it
}{"second": {60, "s"}, "minute": {60, "m"}, "hour": {24, "h"}}

// remarks say of an expression where it fires otherwise than it reads. One that is not
// valid has none.
func remarks(expression string) []string {
	given := strings.Fields(expression)
	if n := len(given); n != len(fields) && n != len(fields)-1 || checkFields(given) != nil {
		return nil
	}
	var all []string
	for i, field := range fields[len(fields)-len(given):] {
		for item := range strings.SplitSeq(given[i], ",") {
			span, every, _ := strings.Cut(item, "/")
			step, err := strconv.Atoi(every)
			if err != nil || step < 2 {
				continue
			}
			clock := clocks[field.name]
			remedy := ""
			if (span == "*" || span == "?") && clock.size > 0 && !slices.ContainsFunc(given[i+1:], restricted) {
				remedy = fmt.Sprintf("; for every %d %ss give \"@every %d%s\"", step, field.name, step, clock.every)
			}
			values := values(field.option, field.bits, item)
			switch {
			case remedy != "" && step == clock.size: // which is what it says
			case len(values) == 1:
				all = append(all, fmt.Sprintf("fires at %s %d only, because the step of %s ends with the field%s", field.name, values[0], quoted(item), remedy))
			case (span == "*" || span == "?") && clock.size > 0 && clock.size%step != 0:
				last := values[len(values)-1]
				all = append(all, fmt.Sprintf("fires unevenly: %s %s ends at %d, and begins again at 0 after %d %ss%s",
					field.name, quoted(item), last, clock.size-last, field.name, remedy))
			}
		}
	}
	return all
}

func restricted(field string) bool { return field != "*" && field != "?" }

// values are those that an item of a field stands for.
func values(option cron.ParseOption, of func(*cron.SpecSchedule) uint64, item string) []int {
	if option == cron.Dow {
		item = sundays(item)
	}
	parsed, err := cron.NewParser(option).Parse(item)
	spec, is := parsed.(*cron.SpecSchedule)
	if err != nil || !is {
		return nil
	}
	var all []int
	const star = 1 << 63
	for set := of(spec) &^ star; set != 0; set &= set - 1 {
		all = append(all, bits.TrailingZeros64(set))
	}
	return all
}
