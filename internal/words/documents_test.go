package words_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// tableOf are the rows of the table in "How it works" whose heading begins with a column.
func tableOf(t *testing.T, column string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/how-it-works.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n| "+column+" | ")
	if !found {
		t.Fatalf("docs/how-it-works.md has no table of each %s", column)
	}
	rows, _, _ := strings.Cut(rest, "\n\n")
	return strings.Split(rows, "\n")[2:]
}

// The tables say what the code says, in its order.
func TestDocumentsExplainStatesAndKinds(t *testing.T) {
	t.Parallel()
	states := tableOf(t, "state")
	for i, rule := range run.States() {
		if i >= len(states) || !strings.HasPrefix(states[i], "| "+string(rule.State)+" | "+rule.Meaning+" |") {
			t.Fatalf("%s is not explained as %q in %q", rule.State, rule.Meaning, states)
		}
	}
	kinds := tableOf(t, "kind")
	for i, rule := range product.Rules() {
		if i >= len(kinds) || !strings.HasPrefix(kinds[i], "| "+string(rule.Kind)+" | "+rule.Meaning+" | "+rule.Event+" | `"+rule.Queue+"` |") {
			t.Fatalf("%s is not explained as %+v in %q", rule.Kind, rule, kinds)
		}
	}
	if len(states) != len(run.States()) || len(kinds) != len(product.Rules()) {
		t.Errorf("%d states and %d kinds are explained", len(states), len(kinds))
	}
}

// No document says any more that some kinds are never repaired.
func TestDocumentsKnowThatEveryKindIsRepaired(t *testing.T) {
	t.Parallel()
	old := regexp.MustCompile(`(?i)reported only|reported, not (repaired|removed)|schema ` + "`?" + `etl\b[^_]`)
	for _, name := range []string{"README.md", "CHANGELOG.md", "docs/rabbitmq-management.md", "docs/how-it-works.md", "docs/operating.md", "docs/commands.md", "docs/api.md", "api/openapi.yaml", "k8s/etl-depl.yml"} {
		text, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		if found := old.Find(text); found != nil {
			t.Errorf("%s says %q", name, found)
		}
	}
}
