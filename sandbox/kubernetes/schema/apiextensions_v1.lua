--- Types of the apiextensions/v1 API: see sandbox/kubernetes/schema/init.lua for the notation.
return [[
CustomResourceColumnDefinition: 1 name string !; 2 type string !; 3 format string; 4 description string;
  5 priority int zero; 6 jsonPath string !
CustomResourceConversion: 1 strategy string !; 2 webhook WebhookConversion
CustomResourceDefinition: 1 metadata meta.ObjectMeta; 2 spec CustomResourceDefinitionSpec !;
  3 status CustomResourceDefinitionStatus
CustomResourceDefinitionCondition: 1 type string !; 2 status string !; 3 lastTransitionTime time; 4 reason string;
  5 message string
CustomResourceDefinitionNames: 1 plural string !; 2 singular string; 3 shortNames []string; 4 kind string !;
  5 listKind string; 6 categories []string
CustomResourceDefinitionSpec: 1 group string !; 3 names CustomResourceDefinitionNames !; 4 scope string !;
  7 versions []CustomResourceDefinitionVersion !; 9 conversion CustomResourceConversion;
  10 preserveUnknownFields bool zero
CustomResourceDefinitionStatus: 1 conditions []CustomResourceDefinitionCondition map=type;
  2 acceptedNames CustomResourceDefinitionNames; 3 storedVersions []string
CustomResourceDefinitionVersion: 1 name string !; 2 served bool !; 3 storage bool !; 7 deprecated bool zero;
  8 deprecationWarning string; 4 schema CustomResourceValidation; 5 subresources CustomResourceSubresources;
  6 additionalPrinterColumns []CustomResourceColumnDefinition; 9 selectableFields []SelectableField
CustomResourceSubresourceScale: 1 specReplicasPath string !; 2 statusReplicasPath string !; 3 labelSelectorPath string
CustomResourceSubresourceStatus:
CustomResourceSubresources: 1 status CustomResourceSubresourceStatus; 2 scale CustomResourceSubresourceScale
CustomResourceValidation: 1 openAPIV3Schema raw
SelectableField: 1 jsonPath string !
ServiceReference: 1 namespace string !; 2 name string !; 3 path string; 4 port int
WebhookClientConfig: 3 url string; 1 service ServiceReference; 2 caBundle bytes
WebhookConversion: 2 clientConfig WebhookClientConfig; 3 conversionReviewVersions []string !
]]
