package api_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/words"
)

// operations are method and path of everything in the document.
func operations(t *testing.T) []string {
	t.Helper()
	doc, _ := loadSpecification(t)
	var all []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			all = append(all, method+" "+path)
			if method == "GET" {
				all = append(all, "HEAD "+path)
			}
		}
	}
	slices.Sort(all)
	return all
}

func TestDocumentAndRoutesAgree(t *testing.T) {
	t.Parallel()
	routes, err := setup(t).api.Routes()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(routes)
	if described := operations(t); !slices.Equal(routes, described) {
		t.Errorf("the router serves\n%s\nthe document describes\n%s", strings.Join(routes, "\n"), strings.Join(described, "\n"))
	}
}

func TestDocumentIsServed(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.do("GET", "/api/etl/openapi.yaml", "", "Authorization", "").want(200, "openapi: 3.0", "/api/etl/sync:").
		wantHeader("Content-Type", "application/yaml")
}

// What the document lists is what the code knows, in its order.
func TestDocumentListsWhatTheCodeKnows(t *testing.T) {
	t.Parallel()
	doc, _ := loadSpecification(t)
	state := doc.Components.Schemas["State"].Value
	var states, meanings []string
	for _, rule := range run.States() {
		states = append(states, string(rule.State))
		meanings = append(meanings, "- `"+string(rule.State)+"`: "+rule.Meaning)
	}
	if !strings.Contains(state.Description, strings.Join(meanings, "\n")) {
		t.Errorf("the states mean\n%s\nin the document\n%s", strings.Join(meanings, "\n"), state.Description)
	}
	note := doc.Components.Schemas["Report"].Value.Properties["notes"].Value.Items.Value.Properties["code"].Value
	for _, tt := range []struct {
		what string
		enum []any
		want []string
	}{
		{"states", state.Enum, states},
		{"kinds", doc.Components.Schemas["Kind"].Value.Enum, texts(product.Kinds())},
		{"statuses", doc.Components.Schemas["RunStatus"].Value.Enum, texts(run.Statuses())},
		{"triggers", doc.Components.Schemas["Trigger"].Value.Enum, texts(run.Triggers())},
		{"reasons", doc.Components.Schemas["Code"].Value.Enum, texts(words.Codes())},
		{"notes", note.Enum, texts(words.NoteCodes())},
	} {
		var listed []string
		for _, value := range tt.enum {
			listed = append(listed, value.(string))
		}
		if tt.what != "states" && tt.what != "kinds" { // whose order is one for readers
			slices.Sort(listed)
			slices.Sort(tt.want)
		}
		if !slices.Equal(listed, tt.want) {
			t.Errorf("the document lists %s %v, want %v", tt.what, listed, tt.want)
		}
	}
}

func texts[T ~string](values []T) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = string(v)
	}
	return all
}

func TestEveryOperationIsDescribed(t *testing.T) {
	t.Parallel()
	doc, _ := loadSpecification(t)
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			if operation.OperationID == "" || operation.Summary == "" || len(operation.Tags) != 1 || doc.Tags.Get(operation.Tags[0]) == nil {
				t.Errorf("%s %s lacks an id, a summary or a known tag", method, path)
			}
			for status, response := range operation.Responses.Map() {
				if response.Value.Headers["X-Request-ID"] == nil {
					t.Errorf("%s %s: answer %s does not name X-Request-ID", method, path, status)
				}
				for kind, media := range response.Value.Content {
					if media.Schema == nil {
						t.Errorf("%s %s: answer %s has no schema for %s", method, path, status, kind)
					}
				}
			}
		}
	}
}

func TestProcessWithoutTheRoleServesProbesOnly(t *testing.T) {
	t.Parallel()
	s := setup(t, func(_ *api.Config, p *api.Parts) {
		*p = api.Parts{Probes: p.Probes, Log: p.Log, ProbesOnly: true}
	})
	for _, path := range []string{"/api/etl/health", "/api/etl/ready", "/api/etl/live"} {
		s.do("GET", path, "").want(200)
	}
	routes, err := s.api.Routes()
	if err != nil || len(routes) != 6 {
		t.Errorf("%v serves %v", err, routes)
	}
}
