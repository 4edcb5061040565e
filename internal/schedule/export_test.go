package schedule

import "time"

// Parse returns the instants of an expression.
func Parse(expression string, zone *time.Location) (func(time.Time) time.Time, error) {
	return parse(expression, zone)
}
