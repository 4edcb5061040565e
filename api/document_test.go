package api_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/api"
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
