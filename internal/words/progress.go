package words

import (
	"strings"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// Share is how much of what a run does at this moment is done, of how much, and what
// that counts: products, however often one of them is repaired. kinds are those that
// the run repairs.
func Share(p *run.Progress, kinds run.Kinds) (done, total int64, what string) {
	if p.Phase != run.PhaseRepairing && p.Phase != run.PhaseProving {
		return p.Compared, max(p.Total, p.Compared), "compared"
	}
	for _, kind := range kinds {
		total += p.Found[kind]
	}
	return p.Verified, max(total, p.Verified), "verified"
}

// Differences says what was found so far.
func Differences(p *run.Progress) string {
	if found := amounts(p.Found, product.Kinds()); len(found) > 0 {
		return strings.Join(found, ", ")
	}
	var suspects int64
	for _, n := range p.Suspects {
		suspects += n
	}
	if suspects > 0 {
		return Counted(suspects, "suspect")
	}
	return "no differences so far"
}

// Waits says what is waited for at this moment, empty where nothing waits.
func Waits(p *run.Progress, t Terms) string {
	texts := make([]string, len(p.Waits))
	for i, w := range p.Waits {
		texts[i] = Wait(w, t)
		if w.Kind != "" {
			texts[i] = Number(w.Products) + " " + string(w.Kind) + " " + are(int64(w.Products), "waits", "wait") + ": " + texts[i]
		}
	}
	return strings.Join(texts, "; ")
}

// Progress says in one line how far a run is. kinds are those that it repairs.
func Progress(p *run.Progress, kinds run.Kinds, t Terms) string {
	done, total, what := Share(p, kinds)
	parts := []string{Number(done) + " of " + Counted(total, "product") + " " + what, Differences(p)}
	if p.Attempts > 1 {
		parts = append(parts, "attempt "+Number(p.Attempts))
	}
	if waits := Waits(p, t); waits != "" {
		parts = append(parts, waits)
	}
	if p.Throttle != "" {
		parts = append(parts, "publishing pauses: "+p.Throttle)
	}
	return string(p.Phase) + ": " + strings.Join(parts, ", ")
}

// amounts are the numbers above 0 of some kinds, such as "12 stale".
func amounts(numbers map[product.Kind]int64, kinds []product.Kind) []string {
	var texts []string
	for _, kind := range kinds {
		if n := numbers[kind]; n > 0 {
			texts = append(texts, Number(n)+" "+string(kind))
		}
	}
	return texts
}
