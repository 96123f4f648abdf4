--- Types of the storage/v1 API: see sandbox/kubernetes/schema/init.lua for the notation.
return [[
CSIDriver: 1 metadata meta.ObjectMeta; 2 spec CSIDriverSpec !
CSIDriverSpec: 1 attachRequired bool; 2 podInfoOnMount bool; 3 volumeLifecycleModes []string set;
  4 storageCapacity bool; 5 fsGroupPolicy string; 6 tokenRequests []TokenRequest; 7 requiresRepublish bool;
  8 seLinuxMount bool; 9 nodeAllocatableUpdatePeriodSeconds int
CSINode: 1 metadata meta.ObjectMeta; 2 spec CSINodeSpec !
CSINodeDriver: 1 name string !; 2 nodeID string !; 3 topologyKeys []string; 4 allocatable VolumeNodeResources
CSINodeSpec: 1 drivers []CSINodeDriver map=name merge=name !
CSIStorageCapacity: 1 metadata meta.ObjectMeta; 2 nodeTopology meta.LabelSelector; 3 storageClassName string !;
  4 capacity quantity; 5 maximumVolumeSize quantity
StorageClass: 1 metadata meta.ObjectMeta; 2 provisioner string !; 3 parameters {}string; 4 reclaimPolicy string;
  5 mountOptions []string; 6 allowVolumeExpansion bool; 7 volumeBindingMode string;
  8 allowedTopologies []core/v1.TopologySelectorTerm
TokenRequest: 1 audience string !; 2 expirationSeconds int
VolumeAttachment: 1 metadata meta.ObjectMeta; 2 spec VolumeAttachmentSpec !; 3 status VolumeAttachmentStatus
VolumeAttachmentSource: 1 persistentVolumeName string; 2 + core/v1.PersistentVolumeSpec
VolumeAttachmentSpec: 1 attacher string !; 2 source VolumeAttachmentSource !; 3 nodeName string !
VolumeAttachmentStatus: 1 attached bool !; 2 attachmentMetadata {}string; 3 attachError VolumeError;
  4 detachError VolumeError
VolumeAttributesClass: 1 metadata meta.ObjectMeta; 2 driverName string !; 3 parameters {}string
VolumeError: 1 time time; 2 message string; 3 errorCode int
VolumeNodeResources: 1 count int
]]
