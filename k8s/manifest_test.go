// Package k8s_test holds the manifest against Kubernetes' own types, the image and the service.
package k8s_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// decode reads every document of a manifest. Fields that Kubernetes does not have,
// and those given twice, are errors: kubectl would drop them with a warning at most.
func decode(text string) ([]runtime.Object, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(appsv1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	var objects []runtime.Object
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", len(objects)+1, err)
		}
		objects = append(objects, object)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// manifest is what etl-depl.yml holds: one Deployment with one container, and one Service.
func manifest(t *testing.T) (*appsv1.Deployment, *corev1.Container, *corev1.Service) {
	t.Helper()
	objects, err := decode(read(t, "etl-depl.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) != 2 {
		t.Fatalf("the manifest has %d documents, want a Deployment and a Service", len(objects))
	}
	deployment, isDeployment := objects[0].(*appsv1.Deployment)
	service, isService := objects[1].(*corev1.Service)
	if !isDeployment || !isService {
		t.Fatalf("the manifest has a %T and a %T, want a Deployment and a Service", objects[0], objects[1])
	}
	containers := deployment.Spec.Template.Spec.Containers
	if len(containers) != 1 {
		t.Fatalf("a pod has %d containers, want 1", len(containers))
	}
	return deployment, &containers[0], service
}

func TestStrictDecoding(t *testing.T) {
	t.Parallel()
	text := read(t, "etl-depl.yml")
	tests := []struct{ name, old, changed, want string }{
		{"a field that does not exist", "terminationGracePeriodSeconds:", "terminationGraceSeconds:", `unknown field "spec.template.spec.terminationGraceSeconds"`},
		{"a field in another's place", "replicas: 2", "replicas: 2\n  readOnlyRootFilesystem: true", `unknown field "spec.readOnlyRootFilesystem"`},
		{"wrong case", "configMapRef:", "configmapRef:", `unknown field "spec.template.spec.containers[0].envFrom[0].configmapRef"`},
		{"a field given twice", "replicas: 2", "replicas: 2\n  replicas: 3", `"replicas" already set`},
		{"a variable that is no string", `value: "true"`, "value: true", "cannot unmarshal bool into Go struct field EnvVar"},
		{"a kind that does not exist", "kind: Service", "kind: Servise", `no kind "Servise" is registered`},
		{"no YAML", "replicas: 2", "replicas: {", "document 1:"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			changed := strings.Replace(text, test.old, test.changed, 1)
			if changed == text {
				t.Fatalf("the manifest has no %q", test.old)
			}
			if _, err := decode(changed); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %s", err, test.want)
			}
		})
	}
}

// What the platform and the existing commands know it by.
func TestNames(t *testing.T) {
	t.Parallel()
	deployment, container, service := manifest(t)
	for _, test := range []struct{ what, got, want string }{
		{"Deployment", deployment.Name, "etl-deployment"},
		{"Deployment's label app", deployment.Labels["app"], "etl"},
		{"pods' label app", deployment.Spec.Template.Labels["app"], "etl"},
		{"image", container.Image, "souravdeveloper/ecom-etl"},
		{"Service", service.Name, "etl-srv"},
		{"Service's type", string(service.Spec.Type), string(corev1.ServiceTypeClusterIP)},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %q, want %q", test.what, test.got, test.want)
		}
	}
	pods := labels.Set(deployment.Spec.Template.Labels)
	for what, selector := range map[string]map[string]string{
		"Deployment": deployment.Spec.Selector.MatchLabels, "Service": service.Spec.Selector,
	} {
		if len(selector) == 0 || !labels.SelectorFromSet(selector).Matches(pods) {
			t.Errorf("the %s's selector %v does not match the pods' labels %v", what, selector, pods)
		}
	}
}

func TestPodsAreConfined(t *testing.T) {
	t.Parallel()
	deployment, container, _ := manifest(t)
	pod := deployment.Spec.Template.Spec
	yes := func(b *bool) bool { return b != nil && *b }
	no := func(b *bool) bool { return b != nil && !*b }
	if pod.SecurityContext == nil || container.SecurityContext == nil {
		t.Fatal("pod or container has no security context")
	}
	if !yes(pod.SecurityContext.RunAsNonRoot) {
		t.Error("runAsNonRoot is not set")
	}
	if profile := pod.SecurityContext.SeccompProfile; profile == nil || profile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the seccomp profile is %v, want RuntimeDefault", profile)
	}
	if !no(pod.AutomountServiceAccountToken) {
		t.Error("the service account's token is mounted, and nothing uses it")
	}
	if !no(pod.EnableServiceLinks) {
		t.Error("Kubernetes adds variables that begin with ETL_")
	}
	confined := container.SecurityContext
	if !yes(confined.ReadOnlyRootFilesystem) {
		t.Error("the root file system can be written to")
	}
	if !no(confined.AllowPrivilegeEscalation) {
		t.Error("privileges may be gained")
	}
	if dropped := confined.Capabilities; dropped == nil || len(dropped.Add) > 0 || len(dropped.Drop) != 1 || dropped.Drop[0] != "ALL" {
		t.Errorf("capabilities are %v, want all dropped", dropped)
	}
}

// Live data stay below 64 MiB; the runtime and garbage come on top.
func TestMemory(t *testing.T) {
	t.Parallel()
	_, container, _ := manifest(t)
	const least = 64 << 20
	if request := container.Resources.Requests.Memory().Value(); request < least {
		t.Errorf("%d bytes of memory are requested, want at least %d", request, least)
	}
	if limit := container.Resources.Limits.Memory().Value(); limit < 2*least {
		t.Errorf("memory is limited to %d bytes, want at least %d", limit, 2*least)
	}
}
